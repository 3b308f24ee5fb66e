"""`python -m eval.gpu PART FILE [--toy]`: measures one part and writes its figures as JSON. `python -m eval run gpu` runs all."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

from core import files
from core.cli import run
from eval.gpu.parts import PARTS


def main() -> None:
    """Measures one part."""
    parser = argparse.ArgumentParser(prog="python -m eval.gpu", description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("file", type=Path)
    parser.add_argument("--toy", action="store_true", help="small enough for a CPU; always so without a GPU")
    args = parser.parse_args()
    import torch

    toy = args.toy or not torch.cuda.is_available()
    module, *rest = PARTS[args.part]
    figures: dict[str, float] = importlib.import_module(f"eval.gpu.{module}").measure(toy, *rest)
    files.write(args.file, json.dumps({"toy": toy, "figures": figures}, indent=1))


if __name__ == "__main__":
    run(main)
