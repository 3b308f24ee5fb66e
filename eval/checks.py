"""Automatic checks of a run's outcome, as data/eval/*.jsonl states them. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.types import Answer

# What says that a tool ran; a plain answerer has none, so these do not count when the two are compared.
OF_PROCESS = ("tool_used", "tool_not_used", "route")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One turn: its answer, the tools that ran, what the guard said."""

    answer: Answer
    tools: Sequence[str] = ()
    route: str = "answer"


def failed(checks: Sequence[Mapping[str, Any]], outcomes: Sequence[Outcome], process: bool = True) -> list[str]:
    """The checks that do not hold, each in words; `process` counts those about tools and routes too."""
    found = []
    for check in checks:
        if check["type"] == "restart_before" or (not process and check["type"] in OF_PROCESS):
            continue
        outcome = outcomes[check.get("turn", len(outcomes) - 1)]
        if not _holds(check, outcome):
            wanted = check.get("values", check.get("value", check.get("groups", check.get("notes"))))
            found.append(f"{check['type']} {wanted}")
    return found


def numbers(text: str) -> list[float]:
    """All numbers of a text, thousands' separators understood."""
    plain = re.sub(r"(?<=\d)[,\u202f\u00a0](?=\d{3}\b)", "", text)
    return [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", plain)]


def _holds(check: Mapping[str, Any], outcome: Outcome) -> bool:
    text, answer = outcome.answer.text.casefold(), outcome.answer
    match check["type"]:
        case "contains_any":
            return any(v.casefold() in text for v in check["values"])
        case "contains_all_groups":
            return all(any(v.casefold() in text for v in group) for group in check["groups"])
        case "not_contains":
            return not any(v.casefold() in text for v in check["values"])
        case "number":
            wanted, rel = float(check["value"]), float(check["rel"])
            return any(abs(n - wanted) <= rel * abs(wanted) for n in numbers(answer.text))
        case "refused":
            return answer.refused is bool(check["value"])
        case "cites_any":
            return bool(_cited(answer) & set(check["notes"]))
        case "cites_all":
            return set(check["notes"]) <= _cited(answer)
        case "tool_used":
            return bool(set(outcome.tools) & set(check["values"]))
        case "tool_not_used":
            return not set(outcome.tools) & set(check["values"])
        case "route":
            # An off-topic message is let through and refused for want of sources.
            return outcome.route == str(check["value"]) or (check["value"] == "off_topic" and answer.refused)
    raise ValueError(f"unknown check {check['type']!r}")


def _cited(answer: Answer) -> set[str]:
    return {c.doc_id.removesuffix(".md") for c in answer.citations}
