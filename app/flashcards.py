"""The Cards tab: what is due today by FSRS, and new cards made from a note or by hand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import gradio as gr

from agents.errors import AgentError
from agents.learners import Learner
from agents.study import card_writer, cards
from app import render, study_html, visitor
from app.service import Service
from core.errors import ServingError

_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


def tab(service: Service) -> None:
    """Lays the tab out and connects it."""
    with gr.Tab("Cards", id="cards") as opened, gr.Column(elem_classes="study"):
        current = gr.State("")
        shown = gr.HTML("", elem_id="card")
        turn = gr.Button("Show the answer", variant="primary", visible=False, elem_id="card-turn")
        with gr.Row(visible=False, elem_id="card-ratings", elem_classes="buttons") as ratings:
            buttons = [
                gr.Button(rating.capitalize(), min_width=72, elem_id=f"card-{rating}") for rating in cards.RATINGS
            ]
        drop = gr.Button("Delete this card", size="sm", visible=False, elem_id="card-drop")
        with gr.Accordion("Make cards", open=False, elem_id="card-make") as make:
            note = gr.Dropdown([], label="From a note, written by the model", filterable=True, elem_id="card-note")
            write = gr.Button("Write cards from this note", size="sm", elem_id="card-write")
            front = gr.Textbox(label="Or by hand: the front", max_lines=4, elem_id="card-front")
            back = gr.Textbox(label="The back", max_lines=6, elem_id="card-back")
            add = gr.Button("Add this card", size="sm", elem_id="card-add")
            told = gr.HTML("", elem_id="card-told")

    outputs = [current, shown, turn, ratings, *buttons, drop]

    def frame(learner: Learner, open_: bool = False, card_id: str = "") -> list[Any]:
        now = time.time()
        waiting = cards.due(learner, now)
        card = next((c for c in waiting if c.id == card_id), None) or next(iter(waiting), None)
        if card is None:
            kept = cards.all_cards(learner)
            ahead = f"in {study_html.span(kept[0].due - now)}" if kept else ""
            hidden = [gr.update(visible=False), gr.update(visible=False)]
            return [
                "",
                study_html.nothing_due(len(kept), ahead),
                *hidden,
                *[gr.skip()] * len(buttons),
                gr.update(visible=False),
            ]
        spans = cards.intervals(card, now) if open_ else {}
        labels = [
            gr.update(value=f"{r.capitalize()} · {study_html.span(spans[r])}") if spans else gr.skip()
            for r in cards.RATINGS
        ]
        return [
            card.id, study_html.card(card, open_, len(waiting)), gr.update(visible=not open_), gr.update(visible=open_),
            *labels, gr.update(visible=open_),
        ]  # fmt: skip

    def looked(card_id: str, request: gr.Request) -> list[Any]:
        return frame(visitor.record(service, request), card_id=card_id)

    def turned(card_id: str, request: gr.Request) -> list[Any]:
        return frame(visitor.record(service, request), True, card_id)

    def rated(rating: str) -> Any:
        def after(card_id: str, request: gr.Request) -> list[Any]:
            learner = visitor.record(service, request)
            if card_id:
                cards.review(learner, card_id, rating, time.time())
            return frame(learner)

        return after

    def dropped(card_id: str, request: gr.Request) -> list[Any]:
        learner = visitor.record(service, request)
        cards.remove(learner, card_id)
        return frame(learner)

    def notes() -> dict[str, Any]:
        titles = [(f"{d.title} ({d.doc_id})", d.doc_id) for d in service.retriever.documents().values()]
        return gr.update(choices=sorted(titles))

    def written(doc_id: str | None, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        if not doc_id:
            yield (render.notice("Choose a note."), *[gr.skip()] * len(outputs))
            return
        learner, count = visitor.record(service, request), 0
        try:
            for face, reverse in card_writer.from_note(service.client, service.retriever, doc_id):
                cards.add(learner, face, reverse, doc_id, time.time())
                count += 1
                yield (render.waiting(f"{count} cards written"), *[gr.skip()] * len(outputs))
        except (ServingError, AgentError) as error:
            yield (render.notice(f"{error}. {count} cards were kept"), *frame(learner))
            return
        yield (render.done(f"{count} cards made from {doc_id}"), *frame(learner))

    def added(face: str, reverse: str, request: gr.Request) -> tuple[Any, ...]:
        learner = visitor.record(service, request)
        try:
            cards.add(learner, face, reverse, "", time.time())
        except AgentError as error:
            return (render.notice(str(error)), gr.skip(), gr.skip(), *[gr.skip()] * len(outputs))
        return (render.done("Added."), "", "", *frame(learner))

    opened.select(looked, current, outputs, **_QUIET)
    turn.click(turned, current, outputs, **_QUIET)
    for rating, button in zip(cards.RATINGS, buttons, strict=True):
        button.click(rated(rating), current, outputs, **_QUIET)
    drop.click(dropped, current, outputs, **_QUIET)
    make.expand(notes, None, note, **_QUIET)
    write.click(written, note, [told, *outputs], **_QUIET)
    add.click(added, [front, back], [told, front, back, *outputs], **_QUIET)
