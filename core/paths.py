"""Where things lie: committed data in the checkout, weights in the user's cache, running state in `var/`."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "data" / "corpus"


def weights_dir() -> Path:
    """`$GENL_WEIGHTS`, or `~/.cache/genl-tutor/weights`: shared by all checkouts of one user."""
    return Path(os.environ.get("GENL_WEIGHTS") or Path.home() / ".cache" / "genl-tutor" / "weights")


def var_dir() -> Path:
    """`$GENL_VAR`, or `var/` in the checkout: index, uploads, logs and the record of the running server."""
    return Path(os.environ.get("GENL_VAR") or ROOT / "var")
