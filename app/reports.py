"""The Reports tab: what `python -m eval run … --out reports/NAME` found, in a frame that runs nothing."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from app import render
from app.service import Service

_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
_NONE = (
    '<div class="lobby"><h2>No reports yet</h2><p>Make one: <code>python -m eval run retrieval answers refusal --quick '
    "--out reports/today</code></p></div>"
)


def tab(service: Service) -> None:
    """Lays the tab out and connects it."""
    with gr.Tab("Reports", id="reports") as opened, gr.Column():
        chosen = gr.Dropdown([], label="Report", visible=False, elem_id="reports-chosen")
        shown = gr.HTML("", elem_id="reports-shown")

    def names() -> list[str]:
        """The newest first."""
        found = service.settings.reports.glob("*/report.html")
        return [path.parent.name for path in sorted(found, key=lambda path: -path.stat().st_mtime)]

    def page(name: str | None) -> str:
        if name not in names():  # the name comes back from the browser
            return _NONE
        try:
            text = (service.settings.reports / name / "report.html").read_text(encoding="utf-8")
        except OSError as error:
            return render.notice(f"{name}: cannot be read ({error.strerror})")
        return f'<iframe class="report-frame" title="{escape(name)}" sandbox srcdoc="{escape(text)}"></iframe>'

    def looked(before: str | None) -> tuple[dict[str, Any], str]:
        there = names()
        name = before if before in there else next(iter(there), None)
        return gr.update(choices=there, value=name, visible=bool(there)), page(name)

    opened.select(looked, chosen, [chosen, shown], **_QUIET)
    chosen.input(page, chosen, shown, **_QUIET)
