"""A tutor over the toy notes, with a model that says what a test scripts and a bank of two questions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from agents.config import AgentSettings
from agents.tutor import Tutor
from rag.retriever import Retriever
from serving.client import ChatClient, Endpoint
from tests.wire import model_server

Script = Callable[[dict[str, Any]], str]

QUESTIONS = (
    ("lora.md", "How many parameters does LoRA of rank 8 train beside a 4096 by 4096 matrix?",
     ["16,777,216", "65,536", "32,768", "4,096"], 1, "2.1",
     "With rank 8 on a 4096 by 4096 matrix, LoRA trains 65,536 parameters instead of 16,777,216."),
    ("triton.md", "Over which port does Triton take gRPC requests?", ["8000", "8002", "8001", "443"], 2, "2.1",
     "Triton serves models from a model repository over HTTP on port 8000 and gRPC on port 8001."),
)  # fmt: skip


@pytest.fixture(scope="session")
def retriever(toy_index: Path) -> Retriever:
    """Holds no state between questions, so one serves all tests."""
    return Retriever.open(toy_index)


@pytest.fixture
def settings(retriever: Retriever, tmp_path: Path) -> AgentSettings:
    rows = []
    for n, (doc_id, question, options, correct, task, quote) in enumerate(QUESTIONS):
        start = retriever.document(doc_id).text.index(quote)
        source = {"doc_id": doc_id, "start": start, "end": start + len(quote), "quote": quote}
        rows.append({
            "id": f"q{n}", "domain": 2, "task": task, "difficulty": "easy", "bloom": "remember", "question": question,
            "options": options, "correct": [correct], "explanation": "So say the notes.",
            "why_not": ["no", "no", "no"], "source": source, "checks": {},
        })  # fmt: skip
    (tmp_path / "bank").mkdir()
    (tmp_path / "bank" / "toy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return AgentSettings(
        threads=tmp_path / "t.sqlite",
        learners=tmp_path / "l.sqlite",
        bank=tmp_path / "bank",
        intent_examples=None,
        always_decide=True,
    )


@pytest.fixture(scope="session")
def understanding(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings of a tutor that knows what a message asks for, as the product does."""
    return {
        "always_decide": False,
        "intent_examples": AgentSettings().intent_examples,
        "intent_cache": tmp_path_factory.getbasetemp() / "intents.npz",
    }


@pytest.fixture
def tutor(retriever: Retriever, settings: AgentSettings) -> Iterator[Callable[..., Tutor]]:
    """Makes a tutor whose model is the script; `requests` of it are in `tutor.requests`."""
    with ExitStack() as open_servers:

        def make(script: Script, delay_s: float = 0.0, **changed: Any) -> Tutor:
            url, requests = open_servers.enter_context(model_server(script, delay_s))
            made = Tutor(
                retriever, ChatClient(Endpoint(base_url=url, model="scripted")), settings.model_copy(update=changed)
            )
            made.requests = requests  # type: ignore[attr-defined]
            open_servers.callback(made.close)
            return made

        yield make
