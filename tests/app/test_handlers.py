"""What visitors do, over a real index and real threads; only the model's words are scripted."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app import conversations
from app.config import AppSettings
from app.handlers import Handlers
from app.service import Service
from serving.client import ChatClient, Endpoint
from tests.wire import model_server

LORA = "LoRA freezes the base model and trains two small matrices of rank r beside each weight matrix. [1]"


def _script(body: dict[str, Any]) -> str:
    return LORA if "numbered sources" in body["messages"][0]["content"] else "How does LoRA train a model?"


@pytest.fixture
def handlers(toy_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Handlers]:
    monkeypatch.setenv("GENL_VAR", str(tmp_path / "var"))
    (tmp_path / "agent.yaml").write_text("turns_kept: 12\n")
    with model_server(_script, delay_s=0.02) as (url, _):
        settings = AppSettings(index=toy_index, agent=tmp_path / "agent.yaml")
        service = Service(settings, None, ChatClient(Endpoint(base_url=url, model="scripted")))
        yield Handlers(service)
        service.tutor.close()


def _ask(handlers: Handlers, question: str, conversation: str, learner: str) -> str:
    *_, last = handlers.respond(question, conversation, None, learner)
    return last


def test_learners_do_not_see_each_other_and_one_is_forgotten_alone(handlers: Handlers) -> None:
    ada, bob = conversations.new_id(), conversations.new_id()
    assert "two small matrices" in _ask(handlers, "How does LoRA train a model?", ada, "ada")
    _ask(handlers, "quiz me on LoRA", bob, "bob")
    _ask(handlers, "B", bob, "bob")
    assert "two small matrices" not in handlers.show(ada, "bob")  # even whoever knows the other's id
    assert "<dd>1</dd>" in handlers.remembered("ada") and handlers.remembered("bob").count("<dd>1</dd>") >= 2
    # The answer, and a card where it was missed.
    assert re.search(r"1 conversations and [12] study records", handlers.forget_me("bob"))
    assert handlers.remembered("bob").count("<dd>0</dd>") == 3
    assert handlers.service.tutor.evidence(ada, "ada")[0].startswith("lora.md:")
    assert "two small matrices" in handlers.show(ada, "ada")


def test_an_answer_under_way_leaves_nothing_when_its_learner_is_forgotten(handlers: Handlers) -> None:
    key = conversations.new_id()
    _ask(handlers, "How does LoRA train a model?", key, "ada")  # loads what is loaded once
    written = threading.Event()

    def run() -> None:
        for html in handlers.respond("How does LoRA train a model now?", key, None, "ada"):
            if "streaming" in html:
                written.set()

    worker = threading.Thread(target=run)
    worker.start()
    assert written.wait(30)
    handlers.forget_me("ada")
    worker.join(30)
    assert not worker.is_alive()
    assert handlers.remembered("ada").count("<dd>0</dd>") == 3
    assert handlers.service.tutor.evidence(key, "ada") == []


@pytest.mark.parametrize("name", ["../../etc", "..", "a/b", "ada@example.org", "Ada Lovelace", ""])
def test_no_learner_s_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    folder = conversations.folder_of(tmp_path, name)
    assert folder.resolve().parent == tmp_path.resolve()
    key = conversations.new_id()
    conversations.save(folder, key, [conversations.Turn("q", "a", "<p>a</p>")])
    assert conversations.count(folder) == 1 == conversations.forget(folder) and conversations.count(folder) == 0
