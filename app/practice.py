"""The Practice tab: a question, the answer's explanation at once, and the cited passage."""

from __future__ import annotations

import time
from typing import Any

import gradio as gr

from agents.errors import AgentError
from agents.study import practice
from app import render, study_html, visitor
from app.service import Service
from core.exam import DOMAINS

_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
Asked = tuple[str, float]  # a question's id, and when it was shown


def tab(service: Service) -> None:
    """Lays the tab out and connects it."""
    with gr.Tab("Practice", id="practice") as opened, gr.Column(elem_classes="study"):
        asked = gr.State(("", 0.0))
        domain = gr.Dropdown(
            [("All domains", 0), *((f"{d.name} ({d.weight} %)", d.number) for d in DOMAINS)],
            value=0,
            label="Domain",
            elem_id="practice-domain",
        )
        shown = gr.HTML("", elem_id="practice-question")
        one = gr.Radio([], label="Your answer", show_label=False, visible=False, elem_id="practice-one")
        two = gr.CheckboxGroup([], label="Your answers", show_label=False, visible=False, elem_id="practice-two")
        with gr.Row(elem_classes="buttons"):
            check = gr.Button("Check", variant="primary", elem_id="practice-check")
            following = gr.Button("Next question", elem_id="practice-next")
        told = gr.HTML("", elem_id="practice-told")
        with gr.Accordion("Report a bad question", open=False, elem_id="practice-report"):
            reason = gr.Textbox(label="What is wrong with it?", max_lines=3, elem_id="practice-reason")
            report = gr.Button("Take it out of the bank", size="sm", elem_id="practice-report-send")

    def next_question(number: int, before: Asked, request: gr.Request) -> tuple[Any, ...]:
        try:
            question = practice.choose(service.tutor.bank, visitor.record(service, request), number, before[0])
        except AgentError as error:
            return ("", 0.0), render.notice(str(error)), gr.update(visible=False), gr.update(visible=False), ""
        single = len(question.correct) == 1
        options = study_html.choices(question)
        return (
            (question.id, time.time()),
            study_html.stem(question, study_html.subject(question)),
            gr.update(choices=options, value=None, visible=single, interactive=True),
            gr.update(choices=options, value=[], visible=not single, interactive=True),
            "",
        )

    def first(number: int, before: Asked, request: gr.Request) -> tuple[Any, ...]:
        return (gr.skip(),) * 5 if before[0] else next_question(number, before, request)

    def checked(
        before: Asked, single: int | None, several: list[int], request: gr.Request
    ) -> tuple[str, dict[str, Any], dict[str, Any], Asked]:
        question = service.tutor.bank.questions.get(before[0])
        chosen = {single} if single is not None else set(several)
        if question is None or not before[1]:  # graded already, or taken out of the bank meanwhile
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        if len(chosen) != len(question.correct):
            ask = "Choose an option." if len(question.correct) == 1 else "Choose two options."
            return render.notice(ask), gr.skip(), gr.skip(), gr.skip()
        now = time.time()
        practice.grade(visitor.record(service, request), question, chosen, now, now - before[1])
        document = service.documents([question.source.doc_id]).get(question.source.doc_id)
        html = study_html.explained(question, chosen, document, f"practice-{question.id}")
        return html, gr.update(interactive=False), gr.update(interactive=False), (question.id, 0.0)

    def reported(before: Asked, why: str, number: int, request: gr.Request) -> tuple[Any, ...]:
        if not before[0]:
            return (gr.skip(),) * 6
        visitor.record(service, request).report(before[0], why.strip())
        frame = next_question(number, before, request)
        return (*frame[:4], render.done("Thank you. The question is out of the bank."), "")

    outputs = [asked, shown, one, two, told]
    opened.select(first, [domain, asked], outputs, **_QUIET)
    for event in (following.click, domain.change):
        event(next_question, [domain, asked], outputs, **_QUIET)
    check.click(checked, [asked, one, two], [told, one, two, asked], **_QUIET)
    report.click(reported, [asked, reason, domain], [*outputs, reason], **_QUIET)
