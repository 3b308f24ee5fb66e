"""Why a question's key is right and each wrong option is not: a conversation, one sentence a turn."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from agents import forms
from agents.bank import Question
from agents.examiner.writer import of_notes
from core.types import Message
from rag.chunking import sentences

if TYPE_CHECKING:
    from serving.client import ChatClient

_TOKENS = 80
_TEMPERATURES = (0.0, 0.7, 0.7)  # of each try: greedily, a model that echoes an option would echo it again
_LEAST_TOLD = 4  # words that are not the option's


def _asked(fact: str, question: str, right: str) -> str:
    return f"Fact: {fact}\nQuestion: {question}\nRight answer: {right}\n\nWhy is “{right}” right?"


def _asked_of(option: str) -> str:
    return f"Why is “{option}” wrong?"


# As turns, for written into the instructions they made a small model repeat the fact; and from other subjects than the
# exam's, for of those their words came back in its explanations.
_EXAMPLES = (
    (
        _asked(
            "Yeast turns sugar into gas and alcohol, and the gas makes dough rise.",
            "What makes bread dough rise?",
            "Gas from the yeast",
        ),
        "Yeast turns sugar into gas, and its bubbles lift the dough that holds them.",
    ),
    (
        _asked_of("Heat from kneading"),
        "Kneading builds the gluten that holds the bubbles; its heat is too little to lift the dough.",
    ),
    (
        _asked(
            "The moon's pull on the sea is about twice the sun's, because the moon is so much nearer.",
            "Which body has the largest part in the tides?",
            "The moon",
        ),
        "The moon is so near that it pulls the sea about twice as hard as the sun does.",
    ),
    (
        _asked_of("The sun"),
        "The sun is far heavier and also far away; its part in the tides is about half of the moon's.",
    ),
    (
        _asked(
            "A canal lock lifts a boat by letting water in from the upper side behind closed gates.",
            "What does a canal lock do to lift a boat?",
            "It lets water in from the upper side",
        ),
        "Water let in from the upper side fills the closed chamber, and the boat rises with it.",
    ),
    (
        _asked_of("It pumps water up from the lower side"),
        "Pumping is what a pumping station does; a lock is filled by the upper water's own weight.",
    ),
)


def explain(client: ChatClient, question: Question) -> Question | None:
    """The question with its explanation and a sentence on each wrong option; None where the model wrote none.

    Raises ServingError.
    """
    right = "; ".join(question.options[i] for i in question.correct)
    shown = [Message("system", forms.instructions("explainer"))]
    for asked, told in _EXAMPLES:
        shown += [Message("user", asked), Message("assistant", told)]
    shown.append(Message("user", _asked(question.source.quote, question.question, right)))
    if not (explanation := _reason(client, shown, right)):
        return None
    shown.append(Message("assistant", explanation))
    why_not = []
    for option in (question.options[i] for i in question.wrong):
        if not (reason := _reason(client, [*shown, Message("user", _asked_of(option))], option)):
            return None
        why_not.append(reason)
    return replace(question, explanation=explanation, why_not=tuple(why_not))


def _reason(client: ChatClient, messages: Sequence[Message], option: str) -> str:
    """Whole sentences that tell more than the option does; "" where the model wrote none."""
    for temperature in _TEMPERATURES:
        text = client.complete(messages, max_tokens=_TOKENS, temperature=temperature, stop=["\n"]).text
        text = " ".join(text.split())
        found = " ".join(text[a:b] for a, b in sentences(text) if text[a:b].endswith((".", "!")))
        if of_notes(found) and len(_words(found) - _words(option)) >= _LEAST_TOLD:
            return found
    return ""


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))
