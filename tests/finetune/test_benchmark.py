"""The comparison with TRL runs from end to end, at toy size."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from core.paths import ROOT


def test_all_contenders_are_measured(chat_model: Path, rows: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "finetune.benchmark", "--model", str(chat_model), "--random", "toy", "--data", str(rows),
         "--samples", "8", "--max-length", "128", "--rounds", "1"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    found = re.findall(r"^(\S+) +([\d.]+) supervised tokens/s .*MFU ([\d.]+)%", ran.stdout, re.MULTILINE)
    assert [name for name, *_ in found] == ["ours", "trl-defaults", "trl-packing"]
    assert all(float(rate) > 0 and 0 <= float(mfu) < 100 for _, rate, mfu in found)
