"""The page's layout and which action calls which handler. What is shown is made in render.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from app import conversations, flashcards, mock_exam, practice, progress, reports, uploads, visitor
from app.handlers import Handlers

HERE = Path(__file__).parent
EXAMPLES = (
    "How much memory does QLoRA save over full fine-tuning?",
    "When is BM25 better than dense retrieval?",
    "What does dynamic batching in Triton do?",
)


def build_page(handlers: Handlers, secret: str) -> gr.Blocks:
    """The page. `secret` keeps conversation ids readable across restarts of the server."""
    settings = handlers.service.settings
    with gr.Blocks(title="GenL Tutor", analytics_enabled=False, fill_width=True) as page:
        conversation = gr.BrowserState("", storage_key="genl-conversation", secret=secret)
        with gr.Row(elem_id="top"):
            gr.HTML("<h1>GenL Tutor</h1>", elem_id="brand")
            status = gr.HTML(handlers.status(), elem_id="status")
            model = gr.Dropdown(
                [], label="Model", show_label=False, container=False, min_width=120, scale=0, elem_id="model"
            )
        tabs = gr.Tabs(elem_id="tabs")
        with tabs, gr.Tab("Chat", id="chat"), gr.Column(elem_id="talk"):
            talk = gr.HTML("", elem_id="conversation")
            with gr.Row(elem_id="ask"):
                box = gr.Textbox(
                    placeholder="Ask about the exam…",
                    label="Your question",
                    show_label=False,
                    lines=1,
                    max_lines=6,
                    scale=8,
                    autofocus=True,
                    elem_id="box",
                )
                send = gr.Button("Ask", variant="primary", scale=1, min_width=72, elem_id="send")
                stop = gr.Button("Stop", scale=1, min_width=72, elem_id="stop")
            with gr.Row(elem_id="again"):
                retry = gr.Button("Retry", size="sm", min_width=60, elem_id="retry")
                edit = gr.Button("Edit question", size="sm", min_width=60, elem_id="edit")
                clear = gr.Button("Clear", size="sm", min_width=60, elem_id="clear")
            gr.Examples([[e] for e in EXAMPLES], box, label="Try", elem_id="examples")
            with gr.Accordion("Your documents", open=False, elem_id="documents"):
                upload = gr.File(
                    label=f"Add a document ({', '.join(sorted(s[1:] for s in uploads.ALLOWED))}; up to {settings.upload_mib} MiB)",
                    type="filepath",
                    elem_id="upload",
                )
                told = gr.HTML("", elem_id="told")
                with gr.Row():
                    stored = gr.Dropdown(
                        uploads.names(settings.uploads), label="In the index", scale=4, elem_id="stored"
                    )
                    forget = gr.Button("Forget", scale=1, min_width=80, elem_id="forget")
            with gr.Accordion("What is remembered about you", open=False, elem_id="memory") as memory:
                kept_of_me = gr.HTML("", elem_id="kept-of-me")
                forget_me = gr.Button("Forget me", size="sm", elem_id="forget-me")
                with gr.Row(visible=False) as sure:
                    yes = gr.Button(
                        "Delete my conversations, results, exams and cards",
                        variant="stop",
                        size="sm",
                        elem_id="forget-yes",
                    )
                    no = gr.Button("Keep them", size="sm", elem_id="forget-no")
        with tabs:
            practice.tab(handlers.service)
            mock_exam.tab(handlers.service, page)
            flashcards.tab(handlers.service)
            progress.tab(handlers.service)
            reports.tab(handlers.service)
        gr.HTML(
            '<aside id="passage" aria-label="Cited passage" hidden><button type="button" id="passage-close" aria-label="Close passage">×</button>'
            '<div id="passage-body" tabindex="-1"></div></aside>',
            elem_id="passage-holder",
        )

        def opened(kept: str, request: gr.Request) -> tuple[str, str]:
            kept = kept or conversations.new_id()
            return kept, handlers.show(kept, visitor.learner(request))

        def asked(question: str, kept: str, chosen: str | None, request: gr.Request) -> Iterator[tuple[object, object]]:
            if not kept:
                # The page is still being opened, and would forget a question that belongs to no conversation.
                yield gr.skip(), question
                return
            for frame, html in enumerate(handlers.respond(question, kept, chosen, visitor.learner(request))):
                yield html, gr.skip() if frame else ""  # emptied once: what is typed meanwhile stays

        def again(kept: str, chosen: str | None, request: gr.Request) -> Iterator[str]:
            learner = visitor.learner(request)
            yield from handlers.respond(handlers.take_back(kept, learner), kept, chosen, learner)

        def stopped(kept: str, request: gr.Request) -> None:
            handlers.stop(kept, visitor.learner(request))

        def cleared(kept: str, request: gr.Request) -> str:
            return handlers.clear(kept, visitor.learner(request))

        def remembered(request: gr.Request) -> tuple[str, dict[str, object], dict[str, object]]:
            return handlers.remembered(visitor.learner(request)), gr.update(visible=True), gr.update(visible=False)

        def unsure() -> tuple[dict[str, object], dict[str, object]]:
            return gr.update(visible=False), gr.update(visible=True)

        def forgotten_me(kept: str, request: gr.Request) -> tuple[str, str, str, dict[str, object], dict[str, object]]:
            told_html = handlers.forget_me(visitor.learner(request))
            kept = conversations.new_id()
            return kept, handlers.show(kept), told_html, gr.update(visible=True), gr.update(visible=False)

        def offered(chosen: str | None) -> dict[str, object]:
            names = handlers.service.models()
            usual = handlers.service.client.endpoint.model
            return gr.update(choices=names, value=chosen if chosen in names else usual)

        def edited(kept: str, request: gr.Request) -> tuple[str, str]:
            question = handlers.take_back(kept, visitor.learner(request))
            return handlers.show(kept, visitor.learner(request)), question

        def added(path: str | None) -> tuple[str, dict[str, object], None]:
            told_html = handlers.upload(path, Path(path).name) if path else ""
            return told_html, gr.update(choices=uploads.names(settings.uploads), value=None), None

        def forgotten(name: str | None) -> tuple[str, dict[str, object]]:
            told_html = handlers.forget(name) if name else ""
            return told_html, gr.update(choices=uploads.names(settings.uploads), value=None)

        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        page.load(opened, conversation, [conversation, talk], **quiet)
        page.load(handlers.status, None, status, **quiet)  # the built-in value is as old as the page
        # An adapter published while the page is open appears when the list is opened.
        page.load(offered, model, model, **quiet)
        model.focus(offered, model, model, **quiet)
        for trigger in (send.click, box.submit):
            trigger(asked, [box, conversation, model], [talk, box], concurrency_limit=8, **quiet)
        stop.click(stopped, conversation, None, **quiet)
        retry.click(again, [conversation, model], talk, concurrency_limit=8, **quiet)
        edit.click(edited, conversation, [talk, box], **quiet)
        clear.click(cleared, conversation, talk, **quiet)
        upload.upload(added, upload, [told, stored, upload], show_progress="minimal", api_visibility="private")
        forget.click(forgotten, stored, [told, stored], show_progress="minimal", api_visibility="private")
        for event in (memory.expand, no.click):
            event(remembered, None, [kept_of_me, forget_me, sure], **quiet)
        forget_me.click(unsure, None, [forget_me, sure], **quiet)
        yes.click(forgotten_me, conversation, [conversation, talk, kept_of_me, forget_me, sure], **quiet)
        gr.Timer(2).tick(handlers.status, None, status, **quiet)
    built: gr.Blocks = page
    return built
