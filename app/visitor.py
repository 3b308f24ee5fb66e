"""Who is at the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gradio as gr

    from agents.learners import Learner
    from app.service import Service

ME = "me"


def learner(request: gr.Request) -> str:
    """Whoever logged in; without a login all browsers are one learner's."""
    return str(request.username or ME)


def record(service: Service, request: gr.Request) -> Learner:
    """What is kept about them."""
    return service.tutor.learners.learner(learner(request))
