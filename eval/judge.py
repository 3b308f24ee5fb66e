"""A model as judge of one statement beside one passage: does it support it, contradict it, or say nothing of it?

Its prompt is `agents/prompts/verifier.md` for support, and the question below for contradiction. Model and prompts are
part of the digest that rows are kept by, and stand in the result. How far it is to be trusted is measured on claims with
labels (the suite `claims`, part of every run that has a judge): below κ 0.4 its figures are shown as not trusted and are
no headline.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

from agents import forms
from agents.verifier import NO, YES, Claim, supported
from core.types import Message

if TYPE_CHECKING:
    from serving.client import ChatClient

TRUSTED = 0.4  # κ with human labels
THRESHOLD = 0.5
_ASK = "Does the passage contradict the statement, so that both cannot be true? Reply Yes or No."


def supports(client: ChatClient, claim: Claim) -> float:
    """The model's probability that the passage supports the statement. Raises ServingError."""
    return supported(client, claim)


def contradicts(client: ChatClient, claim: Claim) -> float:
    """The model's probability that the passage contradicts it. Raises ServingError."""
    asked = f"Passage: {claim.passage}\n\nStatement: {claim.text}\n\n{_ASK}"
    found = client.choose([Message("user", asked)], [YES, NO])
    return math.exp(found.logprobs[YES])


def prompt_sha256() -> str:
    """The digest of what it is asked with."""
    return hashlib.sha256(f"{forms.instructions('verifier')}\n{_ASK}".encode()).hexdigest()
