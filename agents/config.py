"""Settings of the agent: its bounds, its tools, where it remembers."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from core.config import Settings
from core.paths import ROOT, var_dir
from rag.config import AnswerSettings


class Limits(Settings):
    """Bounds of one run, over its sub-graphs too. At a bound the run answers with what it has, or refuses."""

    model_calls: int = Field(24, ge=1)
    tool_calls: int = Field(6, ge=1)
    seconds: float = Field(600, gt=0)
    plan_steps: int = Field(3, ge=1, le=6)
    searches_again: int = Field(1, ge=0, le=3)


class McpServer(Settings):
    """An MCP server whose tools the agent may use: a command to start, or a URL of streamable HTTP."""

    command: tuple[str, ...] = ()
    url: str = ""
    tools: tuple[str, ...] = ()  # those to take; empty takes all


class AgentSettings(Settings):
    """Settings of the tutor agent; `python -m agents … --config FILE` reads them."""

    limits: Limits = Limits()
    answers: AnswerSettings = AnswerSettings()
    threads: Path = Field(default_factory=lambda: var_dir() / "threads.sqlite")
    learners: Path = Field(default_factory=lambda: var_dir() / "learners.sqlite")
    bank: Path = ROOT / "data" / "questions"
    turns_kept: int = Field(12, ge=2)
    threads_kept: int = Field(500, ge=1)
    run_python: bool = False
    tool_folders: tuple[Path, ...] = ()
    mcp_servers: dict[str, McpServer] = Field(default_factory=dict)
    close: float = 0.5  # reranker score under which no passage is close, and the researcher asks again in other words
    verify: bool = False  # ask the model of every citation whether its passage supports the sentence
    verify_at: float = Field(0.5, ge=0, le=1)  # probability under which a citation is struck
    always_decide: bool = False  # ask the model also for what a plain question needs: a search
    intent_examples: Path | None = ROOT / "data" / "intents" / "examples.jsonl"
    intent_cache: Path = Field(default_factory=lambda: var_dir() / "intents.npz")
    worked_problems: Path | None = ROOT / "data" / "problems" / "worked.jsonl"  # the calculator's examples
    otlp_endpoint: str = ""
    api_keys: tuple[str, ...] = ()
    requests_per_minute: int = Field(30, ge=1)
