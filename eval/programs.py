"""Measurements that are programs of their own, so that memory is free for the next: which are run, and how."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from core.errors import ConfigError
from core.paths import ROOT
from eval.suite import Bench


def wanted(bench: Bench, names: Collection[str], called: str) -> list[str]:
    """The names, less those left out (`--skip`). ConfigError where one left out is none of them."""
    left_out = set(bench.options.get("skip", ()))
    if unknown := sorted(left_out - set(names)):
        raise ConfigError(f"--skip {unknown[0]}: the {called} are {', '.join(names)}")
    return [name for name in names if name not in left_out]


def run(
    name: str,
    arguments: Sequence[str],
    wrote: Path,
    python: Path | str = sys.executable,
    environment: Mapping[str, str] | None = None,
) -> str:
    """What `python -m ARGUMENTS` wrote into a file. ConfigError with its last words where it wrote none."""
    ran = subprocess.run(
        [str(python), "-m", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    if not wrote.exists():
        raise ConfigError(f"{name}: {' '.join(ran.stderr.split())[-500:]}")
    return wrote.read_text(encoding="utf-8")
