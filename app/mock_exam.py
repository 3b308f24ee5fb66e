"""The Mock exam tab: 50 questions in 60 minutes by the exam's weights. Every step is kept, so a reload goes on where it was."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import gradio as gr

from agents.errors import AgentError
from agents.learners import Learner
from agents.study import exams
from agents.study.exams import Sitting
from agents.study.scores import score
from app import render, study_html, visitor
from app.service import Service
from core.exam import MINUTES, QUESTIONS

# One click after another, so that the page shows what the last of them came to.
_QUIET: dict[str, Any] = {
    "show_progress": "hidden", "api_visibility": "private", "concurrency_id": "exam", "concurrency_limit": 1,
}  # fmt: skip
_WELCOME = (
    f'<div class="lobby"><h2>Mock exam</h2><p>{QUESTIONS} questions in {MINUTES} minutes, by the weights of the exam’s '
    "domains. Flag questions and come back to them; nothing is explained before the end. "
    "A reload or a crash loses nothing, but the clock runs on.</p></div>"
)


def tab(service: Service, page: gr.Blocks) -> None:
    """Lays the tab out and connects it."""
    with gr.Tab("Mock exam", id="exam") as opened, gr.Column(elem_classes="study"):
        with gr.Column() as lobby:
            gr.HTML(_WELCOME)
            start = gr.Button("Start", variant="primary", elem_id="exam-start")
            trouble = gr.HTML("", elem_id="exam-trouble")
            past = gr.Dropdown([], label="Earlier exams", visible=False, elem_id="exam-past")
            result = gr.HTML("", elem_id="exam-report")
        with gr.Column(visible=False, elem_id="exam-room") as room:
            top = gr.HTML("", elem_id="exam-top")
            with gr.Column() as question_part:
                shown = gr.HTML("", elem_id="exam-question")
                one = gr.Radio([], label="Your answer", show_label=False, elem_id="exam-one")
                two = gr.CheckboxGroup([], label="Your answers", show_label=False, elem_id="exam-two")
                sure = gr.Radio(
                    [(c.capitalize(), c) for c in exams.CONFIDENCE], label="How sure are you?", elem_id="exam-sure"
                )
                with gr.Row(elem_classes="buttons"):
                    back = gr.Button("Back", min_width=72, elem_id="exam-back")
                    flag = gr.Button("Flag", min_width=72, elem_id="exam-flag")
                    on = gr.Button("Next", variant="primary", min_width=72, elem_id="exam-next")
            with gr.Column(visible=False) as review_part:
                seen = gr.HTML("", elem_id="exam-overview")
                with gr.Row(elem_classes="buttons"):
                    resume = gr.Button("Back to the questions", elem_id="exam-resume")
                    end = gr.Button("End the exam", variant="stop", elem_id="exam-end")
            review = gr.Button("Review and end", size="sm", elem_id="exam-review")
            goto = gr.Radio([], label="Questions", elem_id="exam-goto")
            over = gr.Button("Time is up", elem_id="exam-over")

    outputs = [
        lobby, room, trouble, past, result, top, shown, one, two, sure, flag, goto, question_part, review_part, seen, review,
    ]  # fmt: skip

    def frame(
        learner: Learner, sitting: Sitting | None, reviewing: bool = False, shows: str | None = None, wrong: str = ""
    ) -> list[Any]:
        if sitting is None or sitting.ended is not None:
            done = exams.ended(learner)
            names = [(_named(s), s.id) for s in done]
            chosen = shows or (sitting.id if sitting else None)
            html = _report(service, next((s for s in done if s.id == chosen), None))
            return [
                gr.update(visible=True), gr.update(visible=False), wrong,
                gr.update(choices=names, value=chosen, visible=bool(done)), html, "", *[gr.skip()] * 10,
            ]  # fmt: skip
        question = service.bank[sitting.questions[sitting.at]]
        reply, single = sitting.reply(question.id), len(question.correct) == 1
        options = study_html.choices(question)
        return [
            gr.update(visible=False), gr.update(visible=True), "", gr.skip(), "", study_html.clock(sitting, time.time()),
            study_html.stem(question, f"Question {sitting.at + 1}"),
            gr.update(choices=options, value=next(iter(reply.chosen), None) if single else None, visible=single),
            gr.update(choices=options, value=[] if single else list(reply.chosen), visible=not single),
            reply.confidence or None,
            gr.update(value="Flagged ⚑" if reply.flagged else "Flag"),
            gr.update(choices=_places(sitting), value=sitting.at),
            gr.update(visible=not reviewing), gr.update(visible=reviewing), study_html.overview(sitting),
            gr.update(visible=not reviewing),
        ]  # fmt: skip

    def looked(request: gr.Request) -> list[Any]:
        learner, sitting = _open(service, request)
        return frame(learner, sitting)

    def started(request: gr.Request) -> list[Any]:
        learner, _ = _open(service, request)
        try:
            return frame(learner, exams.begin(learner, service.tutor.bank, time.time()))
        except AgentError as error:
            return frame(learner, None, wrong=render.notice(str(error)))

    def moved(to: int | None, request: gr.Request, step: int = 0, reviewing: bool = False) -> list[Any]:
        learner, sitting = _open(service, request)

        def move(sitting: Sitting) -> Sitting:
            return exams.show(sitting, sitting.at + step if to is None else to, time.time())

        past_the_last = to is None and sitting is not None and sitting.at + step >= len(sitting.questions)
        return frame(learner, exams.change(learner, move) or sitting, reviewing or past_the_last)

    def gave(
        single: int | None, several: list[int], how: str | None, index: int | None, request: gr.Request
    ) -> tuple[Any, Any]:
        """`index` is the question that stood before the learner: by now the sitting may show the next."""
        learner, _ = _open(service, request)

        def give(sitting: Sitting) -> Sitting:
            at = sitting.at if index is None else index
            is_single = len(service.bank[sitting.questions[at]].correct) == 1
            chosen = ([] if single is None else [single]) if is_single else several[:2]
            return exams.give(sitting, at, chosen, how or "")

        sitting = exams.change(learner, give)
        if sitting is None:
            return gr.skip(), gr.skip()
        return study_html.clock(sitting, time.time()), gr.update(choices=_places(sitting), value=sitting.at)

    def flagged(request: gr.Request) -> list[Any]:
        learner, sitting = _open(service, request)
        return frame(learner, exams.change(learner, exams.flag) or sitting)

    def ended(request: gr.Request) -> list[Any]:
        learner, sitting = _open(service, request)
        return frame(learner, exams.finish(learner, service.bank, time.time()) or sitting)

    def nexted(request: gr.Request) -> list[Any]:
        return moved(None, request, 1)

    def backed(request: gr.Request) -> list[Any]:
        return moved(None, request, -1)

    def reviewed(request: gr.Request) -> list[Any]:
        return moved(None, request, 0, True)

    def chose_past(sitting_id: str | None, request: gr.Request) -> str:
        learner, _ = _open(service, request)
        return _report(service, next((s for s in exams.ended(learner) if s.id == sitting_id), None))

    for event in (page.load, opened.select, resume.click, over.click):
        event(looked, None, outputs, **_QUIET)
    start.click(started, None, outputs, **_QUIET)
    on.click(nexted, None, outputs, **_QUIET)
    back.click(backed, None, outputs, **_QUIET)
    review.click(reviewed, None, outputs, **_QUIET)
    goto.input(moved, goto, outputs, **_QUIET)
    flag.click(flagged, None, outputs, **_QUIET)
    end.click(ended, None, outputs, **_QUIET)
    past.input(chose_past, past, result, **_QUIET)
    for field in (one, two, sure):
        field.input(gave, [one, two, sure, goto], [top, goto], **_QUIET)


def _open(service: Service, request: gr.Request) -> tuple[Learner, Sitting | None]:
    """The visitor, and their sitting; one whose time is up is ended."""
    learner = visitor.record(service, request)
    sitting = exams.current(learner)
    if sitting is not None and exams.over(sitting, time.time()):
        sitting = exams.finish(learner, service.bank, time.time())
    return learner, sitting


def _places(sitting: Sitting) -> list[tuple[str, int]]:
    """The questions as one may jump to them: ⚑ is flagged, · is open."""
    found = []
    for index, question_id in enumerate(sitting.questions):
        reply = sitting.reply(question_id)
        found.append((f"{index + 1}{'⚑' if reply.flagged else ''}{'' if reply.chosen else ' ·'}", index))
    return found


def _named(sitting: Sitting) -> str:
    return datetime.fromtimestamp(sitting.started).astimezone().strftime("%d %B %Y, %H:%M")


def _report(service: Service, sitting: Sitting | None) -> str:
    if sitting is None:
        return ""
    done = score(sitting, service.bank)
    documents = service.documents({a.question.source.doc_id for a in done.answers})
    html = study_html.report(done, documents, f"exam-{sitting.id}")
    title = f"NCA-GENL mock exam, {_named(sitting)}"
    file = study_html.kept(study_html.report(done, {}, "kept"), title)
    return html + study_html.download(
        file, f"mock-exam-{sitting.id}.html", "text/html", "Keep this report (HTML; prints as PDF)"
    )
