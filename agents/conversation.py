"""What was said before and what it is used for: follow-ups made standalone, a subject named earlier, the learner's own words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypedDict

from agents import commands, forms
from agents.run import LimitReached, Run
from core.errors import ServingError
from core.types import Message
from rag import prompts

_HISTORY = 6  # messages that a follow-up is made standalone with
_NEAR = 0.35  # cosine from which something told may be what a question about the learner asks for
_OF_THEMSELF = re.compile(r"\b(?:I|me|my|mine)\b", re.IGNORECASE)
_OTHER_SUBJECT = re.compile(
    r"\b(?:some|any)thing (?:else|different|unrelated)\b|\b(?:different|other|another|new|change of) (?:topic|subject)\b|"
    r"\b(?:switch|change) (?:the )?(?:topic|subject)s?\b",
    re.IGNORECASE,
)
_TOPIC_SCHEMA = forms.object_schema({"topic": {"type": "string", "maxLength": 80}})


class State(TypedDict, total=False):
    """What a thread keeps: its last messages, the summary of earlier ones, what the learner told of themself word for word,
    the spans cited (document:start-end), the open question as a row of a bank and the subject of the last one."""

    messages: list[dict[str, str]]
    summary: str
    told: list[str]
    quiz_topic: str
    evidence: list[str]
    open_question: dict[str, Any] | None
    question: str
    query: str
    answer: Any


def refers_back(question: str) -> bool:
    """Whether a message may lean on earlier ones: short, or with a word that points back, and no change of subject said."""
    if _OTHER_SUBJECT.search(question):
        return False
    points = r"\b(?:it|its|this|that|these|those|they|them|their|one|ones|first|second|third|last|former|latter|same|other|others|more|again|instead|else|why|example|and|so|then|there|above|before|earlier|my|i)\b"
    return len(question.split()) <= 6 or re.search(points, question, re.IGNORECASE) is not None


def standalone(state: State, run: Run) -> str:
    """The message as a question that stands alone, by the model; what the learner told of themself counts as said."""
    question, before = state["question"], history(state)
    told = [Message("user", text) for text in state.get("told", []) if all(text != m.content for m in before)]
    run.client.purpose = "condense"
    with run.trace.span("step", "condense") as span:
        try:
            text = run.client.complete(prompts.condense(question, [*told, *before]), max_tokens=64, stop=["\n"]).text
        except LimitReached:
            text = ""
        span.detail["query"] = query = prompts.standalone(text, question, before)
    return query


def quiz_topic(state: State, run: Run) -> str:
    """The subject of the question asked for; where the message points back, the last one's or what the conversation says."""
    question = state["question"]
    topic, points_back = commands.quiz_topic(question), commands.points_back(question)
    if topic and not points_back:
        return topic
    last = state.get("quiz_topic", "")
    if last and re.search(
        rf"\b(?:same|again|that|it{'' if topic else '|another|next|more'})\b", question, re.IGNORECASE
    ):
        return last
    if not points_back or not run.desk.conversation:
        return topic
    run.client.purpose = "topic"
    with run.trace.span("step", "topic") as span:
        try:
            asked = f"Conversation:\n{run.desk.conversation[-3000:]}\n\nLast message: {question}"
            reply = run.client.complete(
                [Message("system", forms.instructions("topic")), Message("user", asked)],
                max_tokens=60,
                schema=_TOPIC_SCHEMA,
            )
            topic = str(forms.json_object(reply.text).get("topic", "")).strip() or topic
        except LimitReached:
            pass
        span.detail["topic"] = topic
    return topic


def closest_said(state: State, run: Run) -> str:
    """The learner's own words nearest to what they ask about themself, quoted; empty where they said nothing of the kind."""
    import numpy as np

    told = state.get("told", [])
    if run.intent == "recall":
        told = [*told, *(m["content"] for m in state.get("messages", []) if m["role"] == "user")]
    elif not _OF_THEMSELF.search(state["question"]):
        return ""
    told = list(dict.fromkeys(text for text in reversed(told) if "?" not in text))  # what was said last comes first
    if not told:
        return ""
    vectors = run.desk.retriever.embedder.encode([state["question"], *told], tokens=False)[0]
    closeness = vectors[1:] @ vectors[0]
    nearest = [n for n in np.argsort(-closeness, kind="stable")[:2] if run.intent == "recall" or closeness[n] >= _NEAR]
    return "You told me: " + " ".join(f"“{told[n]}”" for n in sorted(nearest)) if nearest else ""


def summary(before: str, old: Sequence[dict[str, str]], run: Run) -> str:
    """The summary so far and the messages that go into it as one, by the model; where it cannot, the learner's own words."""
    told = "\n".join(
        f"{'Learner' if m['role'] == 'user' else 'Tutor'}: {' '.join(m['content'].split())[:300]}" for m in old
    )
    run.client.purpose = "summary"
    with run.trace.span("step", "summary"):
        try:
            reply = run.client.complete(
                [
                    Message("system", forms.instructions("summary")),
                    Message("user", f"{f'Summary so far: {before}' if before else ''}\n\n{told}\n\nSummary:".strip()),
                ],
                max_tokens=180,
            )
            return reply.text.strip()
        except (LimitReached, ServingError):
            # The learner's own words are what must not be lost.
            said = [m["content"] for m in old if m["role"] == "user"]
            return f"{before} {' '.join(said)}".strip()[-1500:]


def history(state: State) -> list[Message]:
    """The last messages, with which a follow-up is made standalone."""
    found = [Message("user" if m["role"] == "user" else "assistant", m["content"]) for m in state.get("messages", [])]
    return found[-_HISTORY:]
