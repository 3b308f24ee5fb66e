"""Questions from elsewhere through the gates into a bank, and the commands for both ways."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from agents.__main__ import main
from agents.bank import Bank, Question, valid
from agents.config import AgentSettings
from agents.errors import AgentError
from agents.examiner.gates import WITH_MODEL, WITHOUT_MODEL
from agents.exchange import formats
from agents.exchange.imports import Admitted, admit
from core.errors import ConfigError, ServingError
from core.paths import ROOT
from rag.building import build
from rag.config import IndexSettings
from rag.retriever import Retriever
from serving.client import ChatClient, Endpoint
from tests.conftest import write_notes
from tests.wire import model_server

BANK = ROOT / "data" / "questions"
MERGED = """
// made elsewhere
::Merging:: What does inference cost after a LoRA adapter is merged into the base weights? {
  =Nothing extra
  ~Double memory # Nothing is kept beside the weights.
  ~Slower tokens
  ~Larger batches
}
"""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The notes with the embedder that the tutor ships with: to the toy one all questions are alike."""
    folder = tmp_path_factory.mktemp("exchange")
    build([write_notes(folder / "notes")], folder / "index", IndexSettings())
    return folder / "index"


@pytest.fixture(scope="module")
def retriever(index: Path) -> Retriever:
    return Retriever.open(index)


@pytest.fixture
def bank(settings: AgentSettings) -> list[Question]:
    return list(Bank.open(settings.bank).questions.values())


def _script(key: str = "Nothing extra") -> Callable[[dict[str, Any]], str]:
    """A model that finds the key in the notes, and only there."""

    def script(body: dict[str, Any]) -> str:
        asked = body["messages"][-1]["content"]
        if "Notes: " in asked:
            return next((line[0] for line in asked.splitlines() if key in line and line[1:2] == ")"), "A")
        return "A"

    return script


def _admit(
    rows: list[dict[str, Any]],
    retriever: Retriever,
    bank: list[Question],
    out: Path,
    script: Callable[[dict[str, Any]], str],
) -> tuple[Admitted, int]:
    with model_server(script) as (url, requests):
        client = ChatClient(Endpoint(base_url=url, model="scripted", max_retries=0))
        return admit(rows, retriever, bank, out, client, rotations=4), len(requests)


def _foreign(folder: Path, text: str = MERGED) -> list[dict[str, Any]]:
    (folder / "foreign.gift").write_text(text, encoding="utf-8")
    return formats.read(folder / "foreign.gift")


def test_a_foreign_question_gets_a_source_a_task_and_its_checks(
    retriever: Retriever, bank: list[Question], tmp_path: Path
) -> None:
    out = tmp_path / "new" / "bank.jsonl"
    found, _ = _admit(_foreign(tmp_path), retriever, bank, out, _script())
    assert found.dropped == () and found.updates == () and found.not_run == ()
    (kept,) = Bank.open(out.parent).questions.values()
    assert found.kept == (kept,) and valid(kept.source, retriever.document("lora.md"))
    assert "inference costs nothing extra" in kept.source.quote
    assert (kept.domain, kept.task, kept.difficulty, kept.bloom) == (2, "2.1", "medium", "understand")
    assert tuple(kept.checks) == (*WITHOUT_MODEL, *WITH_MODEL, "model")
    assert kept.checks["open book"] > kept.checks["closed book"] and not list(out.parent.glob("*.partial"))


def test_without_a_model_only_what_needs_none_is_run(
    retriever: Retriever, bank: list[Question], tmp_path: Path
) -> None:
    found = admit(_foreign(tmp_path), retriever, bank, tmp_path / "bank.jsonl")
    assert tuple(found.kept[0].checks) == WITHOUT_MODEL and found.not_run == WITH_MODEL


@pytest.mark.parametrize(
    ("changed", "key", "gate", "says"),
    [
        ({"question": "Over which port does Triton take gRPC requests?", "options": ["8000", "8001", "8002", "443"],
          "correct": [1]}, "8001", "near-duplicate", "another question"),
        ({"options": ["Nothing extra", "Whatever a second forward pass over all the layers would cost", "A lot", "A bit"]},
         "Nothing", "cues", "length"),
        ({}, "Slower", "open book", "with the notes the marked option is not found"),
        ({"question": "Which wine goes with grilled octopus at sunset?", "options": ["Assyrtiko", "Rioja", "Tokaji", "Sake"]},
         "Assyrtiko", "source span", "no sentence of the notes"),
        ({"source": {"doc_id": "lora.md", "start": 0, "end": 4, "quote": "Nope"}}, "Nothing", "source span", "the quote"),
        ({"source": {"doc_id": "gone.md", "start": 0, "end": 4, "quote": "Nope"}}, "Nothing", "source span", "gone.md"),
        ({"options": ["a", "b"]}, "Nothing", "form", "one right option of four"),
        ({"options": ["Nothing extra", "b", "c", " "]}, "Nothing", "form", "blank"),
        ({"task": "9.9"}, "Nothing", "form", "'9.9'"),
        ({"task": "2.1", "domain": 3}, "Nothing", "form", "domain 3"),
    ],
)  # fmt: skip
def test_each_gate_drops_what_does_not_stand_it(
    retriever: Retriever, bank: list[Question], tmp_path: Path, changed: dict[str, Any], key: str, gate: str, says: str
) -> None:
    rows = [_foreign(tmp_path)[0] | changed]
    found, _ = _admit(rows, retriever, bank, tmp_path / "bank.jsonl", _script(key))
    assert found.kept == () and (tmp_path / "bank.jsonl").read_text() == ""
    assert [(d.id, d.gate) for d in found.dropped] == [("Merging", gate)] and says in found.dropped[0].trouble


def test_a_note_that_tells_no_task_gives_none(retriever: Retriever, bank: list[Question], tmp_path: Path) -> None:
    rows = _foreign(
        tmp_path,
        "::Bias:: When training data does not represent the people the model will serve, which bias arises? "
        "{=Sampling bias ~Recall bias ~Survivor bias ~Novelty bias}\n",
    )
    found = admit(rows, retriever, bank, tmp_path / "bank.jsonl")
    assert found.dropped[0].gate == "form" and "exam task" in found.dropped[0].trouble
    held = replace(bank[0], id="e", domain=5, task="5.4", source=replace(bank[0].source, doc_id="ethics/other.md"))
    found = admit(rows, retriever, [*bank, held], tmp_path / "bank.jsonl")
    assert (found.kept[0].source.doc_id, found.kept[0].domain, found.kept[0].task) == ("ethics/bias.md", 5, "5.4")


def test_an_update_is_not_its_own_duplicate(retriever: Retriever, bank: list[Question], tmp_path: Path) -> None:
    row = {key: asdict(bank[1])[key] for key in ("id", "question", "options", "correct", "why_not")}
    found = admit([row | {"explanation": "New."}, row | {"id": "copy"}], retriever, bank, tmp_path / "bank.jsonl")
    # What the row does not say is the bank's.
    assert found.kept == (replace(bank[1], explanation="New.", checks=found.kept[0].checks),)
    assert found.updates == (bank[1].id,) and [(d.id, d.gate) for d in found.dropped] == [("copy", "near-duplicate")]


def test_the_same_question_twice_in_a_file_gets_in_once(
    retriever: Retriever, bank: list[Question], tmp_path: Path
) -> None:
    rows = _foreign(tmp_path, MERGED + MERGED)
    assert len({row["id"] for row in rows}) == 2
    found = admit(rows, retriever, bank, tmp_path / "bank.jsonl")
    assert [q.id for q in found.kept] == [rows[0]["id"]] and found.dropped[0].gate == "near-duplicate"


def test_an_outage_loses_nothing_and_an_edited_question_is_judged_again(
    retriever: Retriever, bank: list[Question], tmp_path: Path
) -> None:
    out = tmp_path / "bank.jsonl"
    first = _foreign(tmp_path)[0]
    other = asdict(replace(bank[0], explanation="Anew."))
    _, whole = _admit([first], retriever, bank, tmp_path / "alone.jsonl", _script())
    calls: Counter[str] = Counter()

    def away(body: dict[str, Any]) -> str:
        calls["all"] += 1
        if calls["all"] > whole:
            raise OSError
        return _script()(body)

    with pytest.raises(ServingError):
        _admit([first, other], retriever, bank, out, away)
    assert not out.exists() and len((tmp_path / "bank.jsonl.partial").read_text().splitlines()) == 1
    kept = (tmp_path / "bank.jsonl.partial").read_text()
    found, asked = _admit([first, other], retriever, bank, out, _script("65,536"))
    assert [q.id for q in found.kept] == ["Merging", bank[0].id] and asked == whole  # those of the second alone
    (tmp_path / "bank.jsonl.partial").write_text(kept)
    found, asked = _admit([first | {"explanation": "Edited."}], retriever, bank, out, _script())
    assert found.kept[0].explanation == "Edited." and asked == whole


# The command line


def _command(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["agents", *map(str, words)])
    main()


def test_export_and_import_by_command(
    settings: AgentSettings,
    index: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _command(monkeypatch, "export", tmp_path / "all.apkg")
    assert f"all.apkg: {len(Bank.open(BANK))} questions" in capsys.readouterr().out
    _command(
        monkeypatch,
        "export",
        tmp_path / "five.csv",
        "--domain",
        "5",
        "--bank",
        BANK / "trustworthy.jsonl",
        settings.bank,
    )
    assert {row["domain"] for row in formats.read(tmp_path / "five.csv")} == {5}
    with pytest.raises(ConfigError, match="already there"):
        _command(monkeypatch, "export", tmp_path / "five.csv")
    with pytest.raises(AgentError, match="unknown suffix"):
        _command(monkeypatch, "export", tmp_path / "five.docx")
    capsys.readouterr()

    rows = [json.dumps(asdict(q) | {"explanation": "Anew."}) for q in Bank.open(settings.bank).questions.values()]
    (tmp_path / "in.jsonl").write_text("\n".join([*rows, '{"id": "half", "question": "What?"}']), encoding="utf-8")
    words = ["import", tmp_path / "in.jsonl", "--no-model", "--index", index, "--set", f"bank={settings.bank}"]
    with pytest.raises(ConfigError, match=r"holds 'q0' already"):
        _command(monkeypatch, *words, "--out", settings.bank / "new.jsonl")
    _command(monkeypatch, *words, "--out", tmp_path / "new.jsonl")
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith("new.jsonl: 2 of 3 questions got in")
    assert said[1:] == [
        "  half: dropped at form: KeyError: 'options'",
        "  of questions the bank holds, to be replaced there: q0, q1",
        "not run, for want of a model: open book, closed book, options only, second key",
    ]
    with pytest.raises(ConfigError, match="already there"):
        _command(monkeypatch, *words, "--out", tmp_path / "new.jsonl")
