"""What the page needs to know to start."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from core.config import Settings
from core.paths import CORPUS, ROOT, var_dir


class AppSettings(Settings):
    """Settings of `python -m app`."""

    model: str | None = None
    index: Path = Field(default_factory=lambda: var_dir() / "index")
    corpus: Path = CORPUS
    uploads: Path = Field(default_factory=lambda: var_dir() / "uploads")
    conversations: Path = Field(default_factory=lambda: var_dir() / "conversations")
    reports: Path = ROOT / "reports"
    agent: Path | None = None  # YAML of AgentSettings
    host: str = "127.0.0.1"
    port: int = Field(7860, ge=0, le=65535)
    auth: tuple[tuple[str, str], ...] = ()
    upload_mib: int = Field(20, ge=1)
    wait_for_model_s: float = Field(600, gt=0)
