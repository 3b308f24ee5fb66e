"""Cards from a note: each shows the sentence it rests on, word for word, whatever the model makes of its schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agents.study import card_writer
from rag.retriever import Retriever
from serving.client import ChatClient, Endpoint
from tests.wire import model_server


def test_cards_quote_their_note_and_what_is_none_is_left_out(toy_index: Path) -> None:
    retriever = Retriever.open(toy_index)
    note = retriever.documents()["lora.md"]

    def script(body: dict[str, Any]) -> str:
        asked = body["messages"][-1]["content"]
        assert "1. " in asked or "1) " in asked or "1:" in asked  # sentences by number
        good = {"sentence": 1, "front": "What does  LoRA\ntrain?", "back": "Small matrices of low rank."}
        return json.dumps({"cards": [good, good | {"sentence": 0}, good | {"sentence": 999}, {"front": "?"}, "card"]})

    with model_server(script) as (url, requests):
        client = ChatClient(Endpoint(base_url=url, model="scripted"))
        made = list(card_writer.from_note(client, retriever, "lora.md"))
    assert requests and "json_schema" in json.dumps(requests[0])
    ((front, back),) = made  # the same front once, and nothing without a sentence
    assert front == "What does LoRA train?"
    answer, quote = back.split("\n\n> ")
    assert answer == "Small matrices of low rank." and quote in " ".join(note.text.split())


def test_a_reply_that_is_no_list_of_cards_gives_none(toy_index: Path) -> None:
    retriever = Retriever.open(toy_index)
    for reply in ('{"cards": null}', "no object at all", '{"cards": [[1]]}'):
        with model_server(lambda body, reply=reply: reply) as (url, _):
            client = ChatClient(Endpoint(base_url=url, model="scripted"))
            assert list(card_writer.from_note(client, retriever, "lora.md")) == []
