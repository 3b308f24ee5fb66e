"""The Progress tab: mastery by domain and over time, reviews ahead, and the learner's data to take away or bring back."""

from __future__ import annotations

import json
import time
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import gradio as gr

from agents.errors import AgentError
from agents.learners import Learner, dumps
from agents.study import cards, exams, mastery
from agents.study.scores import score
from app import render, study_html, visitor
from app.service import Service

_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
_DAYS = 14


def tab(service: Service) -> None:
    """Lays the tab out and connects it. The course is drawn from the second day on."""
    import pandas as pd

    with gr.Tab("Progress", id="progress") as opened, gr.Column(elem_classes="study"):
        shown = gr.HTML("", elem_id="progress-now")
        course = gr.LinePlot(
            x="day", y="mastery", color="domain", title="Mastery by domain", y_lim=[0, 1], x_title="", y_title="right",
            height=280, visible=False, elem_id="progress-course",
        )  # fmt: skip
        ahead = gr.BarPlot(
            x="day", y="cards", title="Reviews in the next two weeks", x_title="", y_title="cards", sort="x", height=250,
            x_label_angle=-40, visible=False, elem_id="progress-ahead",
        )  # fmt: skip
        with gr.Accordion("Your data", open=False, elem_id="progress-data") as data:
            saved = gr.HTML("", elem_id="progress-saved")
            bring = gr.File(
                label="Bring back exported progress (replaces what is here)",
                file_types=[".json"],
                type="filepath",
                elem_id="progress-bring",
            )
            told = gr.HTML("", elem_id="progress-told")
            bad = gr.Dropdown([], label="Reported questions", visible=False, elem_id="progress-reported")
            restore = gr.Button("Put it back into the bank", size="sm", visible=False, elem_id="progress-restore")

    def frame(learner: Learner) -> tuple[Any, ...]:
        now, marks = time.time(), learner.marks()
        points = mastery.over_time(marks)
        sat = [_line(service, s) for s in exams.ended(learner)]
        html = study_html.progress(
            mastery.latest(points), len(marks), len(cards.reviewed(learner)), len(cards.due(learner, now)), sat
        )
        rows = pd.DataFrame([{"day": p.day.isoformat(), "domain": p.domain, "mastery": p.mastery} for p in points])
        counts = cards.forecast(learner, now, _DAYS)
        days = [(date.today() + timedelta(n)).isoformat() for n in range(_DAYS)]
        return (
            html,
            gr.update(value=rows, visible=True) if len({p.day for p in points}) > 1 else gr.update(visible=False),
            gr.update(value=pd.DataFrame({"day": days, "cards": counts}), visible=True)
            if any(counts)
            else gr.update(visible=False),
        )

    def looked(request: gr.Request) -> tuple[Any, ...]:
        return frame(visitor.record(service, request))

    def held(request: gr.Request) -> tuple[str, dict[str, Any], dict[str, Any]]:
        text = dumps(visitor.record(service, request).export())
        reported = sorted(service.tutor.learners.reported())
        return (
            study_html.download(text, "genl-tutor-progress.json", "application/json", "Export my progress (JSON)"),
            gr.update(choices=reported, value=None, visible=bool(reported)),
            gr.update(visible=bool(reported)),
        )

    def brought(path: str | None, request: gr.Request) -> tuple[Any, ...]:
        if not path:
            return (gr.skip(),) * 5
        learner = visitor.record(service, request)
        try:
            count = learner.restore(json.loads(Path(path).read_text(encoding="utf-8")))
        except (AgentError, ValueError, OSError) as error:
            return (render.notice(" ".join(str(error).split())), None, *(gr.skip(),) * 3)
        return (render.done(f"{count} rows are back"), None, *frame(learner))

    def put_back(question_id: str | None, request: gr.Request) -> tuple[Any, ...]:
        if question_id:
            service.tutor.learners.restore(question_id)
        return held(request)

    opened.select(looked, None, [shown, course, ahead], **_QUIET)
    data.expand(held, None, [saved, bad, restore], **_QUIET)
    bring.upload(brought, bring, [told, bring, shown, course, ahead], **_QUIET)
    restore.click(put_back, bad, [saved, bad, restore], **_QUIET)


def _line(service: Service, sitting: exams.Sitting) -> str:
    done = score(sitting, service.bank)
    when = datetime.fromtimestamp(sitting.started).astimezone().strftime("%d %B %Y")
    return f"{when}: {done.total.right} of {done.total.of} in {done.minutes:.0f} minutes"
