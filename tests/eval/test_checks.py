"""Checks against outcomes worked by hand, and the committed case files against their own rules."""

from __future__ import annotations

import json

import pytest

from core.paths import ROOT
from core.types import Answer, Citation
from eval.checks import Outcome, failed, numbers


def _outcome(text: str, refused: bool = False, notes: tuple[str, ...] = (), tools: tuple[str, ...] = ()) -> Outcome:
    cited = tuple(Citation(f"{n}.md", "v", 0, 1, "q", 1, 0, 1.0) for n in notes)
    return Outcome(Answer("q", text, refused, "not_in_sources" if refused else None, (), cited), tools)


@pytest.mark.parametrize(
    ("check", "outcome", "holds"),
    [
        ({"type": "contains_any", "values": ["4 GB", "4GB"]}, _outcome("About 4gb."), True),
        ({"type": "contains_all_groups", "groups": [["a"], ["x", "b"]]}, _outcome("A and B"), True),
        ({"type": "contains_all_groups", "groups": [["a"], ["x"]]}, _outcome("A and B"), False),
        ({"type": "number", "value": 13.04, "rel": 0.02}, _outcome("14 GB (13.0385 GiB)"), True),
        ({"type": "number", "value": 26214400, "rel": 0.0001}, _outcome("26,214,400 in all"), True),
        ({"type": "number", "value": 5, "rel": 0.02}, _outcome("52"), False),
        ({"type": "refused", "value": True}, _outcome("no", refused=True), True),
        ({"type": "refused", "value": True}, _outcome("yes"), False),
        ({"type": "cites_all", "notes": ["a/b", "c/d"]}, _outcome("x", notes=("a/b", "c/d")), True),
        ({"type": "cites_all", "notes": ["a/b", "c/d"]}, _outcome("x", notes=("a/b",)), False),
        ({"type": "cites_any", "notes": ["a/b"]}, _outcome("x"), False),
        ({"type": "tool_used", "values": ["calculate"]}, _outcome("x", tools=("calculate",)), True),
        ({"type": "not_contains", "values": ["PWNED"]}, _outcome("pwned"), False),
    ],
)
def test_worked_by_hand(check: dict[str, object], outcome: Outcome, holds: bool) -> None:
    assert (failed([check], [outcome]) == []) is holds


def test_turns_and_process() -> None:
    turns = [_outcome("first"), _outcome("second")]
    assert failed([{"type": "contains_any", "values": ["first"], "turn": 0}], turns) == []
    assert failed([{"type": "tool_used", "values": ["x"]}], turns, process=False) == []
    with pytest.raises(ValueError, match="unknown check"):
        failed([{"type": "nonsense"}], turns)


def test_numbers() -> None:
    assert numbers("1,000.5 and -2e3, 3.") == [1000.5, -2000.0, 3.0]


@pytest.mark.parametrize(("name", "kinds"), [("agent_tasks", 6), ("attacks", 10)])
def test_committed_cases_can_be_checked(name: str, kinds: int) -> None:
    rows = [json.loads(line) for line in (ROOT / "data" / "eval" / f"{name}.jsonl").open()]
    assert len(rows) >= 60 and len({row["id"] for row in rows}) == len(rows) and len({r["kind"] for r in rows}) == kinds
    notes = {str(p.relative_to(ROOT / "data/corpus").with_suffix("")) for p in (ROOT / "data/corpus").rglob("*.md")}
    for row in rows:
        failed(row["checks"], [_outcome("x")] * len(row["turns"]))
        assert row["checks"] and all(set(c.get("notes", [])) <= notes for c in row["checks"])


def test_every_claim_stands_beside_words_of_its_note() -> None:
    rows = [json.loads(line) for line in (ROOT / "data" / "eval" / "claims.jsonl").read_text().splitlines()]
    assert len({r["id"] for r in rows}) == len(rows) == 160
    assert sum(r["supported"] for r in rows) == 80
    for row in rows:
        assert row["quote"] in (ROOT / "data" / "corpus" / f"{row['note']}.md").read_text(), row["id"]
