"""Runs a room's command in a process of its own, forked from one that has the libraries loaded: seconds, not a dozen."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from core.paths import ROOT

_forkserver = multiprocessing.get_context("forkserver")
_forkserver.set_forkserver_preload(["finetune.training", "finetune.card", "finetune.curves"])


def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """`[python, -m, room, …]` as subprocess.run would, with captured text."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        child = _forkserver.Process(target=_child, args=(list(command), str(out), str(err)))
        child.start()
        child.join()
        return subprocess.CompletedProcess(list(command), child.exitcode or 0, out.read_text(), err.read_text())


def _child(command: list[str], out: str, err: str) -> None:
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(ROOT)
    sys.argv = [command[2], *command[3:]]
    runpy.run_module(command[2], run_name="__main__", alter_sys=True)
