"""Questions out to Anki, Moodle, tables and JSON lines, back in, and through the gates into a bank."""

from __future__ import annotations

import csv
import json
import re
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import genanki
import pytest
from anki.collection import Collection, ExportAnkiPackageOptions, ImportAnkiPackageRequest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from agents.__main__ import main
from agents.bank import Bank, Question, Source, question, valid
from agents.config import AgentSettings
from agents.errors import AgentError
from agents.examiner.gates import WITH_MODEL, WITHOUT_MODEL
from agents.exchange import anki, formats, gift, table
from agents.exchange.imports import Admitted, admit
from agents.exchange.markup import from_html, to_html
from core.errors import ConfigError, ServingError
from core.exam import DOMAINS
from core.paths import ROOT
from rag.building import build
from rag.config import IndexSettings
from rag.retriever import Retriever
from serving.client import ChatClient, Endpoint
from tests.conftest import write_notes
from tests.wire import model_server

BANK = ROOT / "data" / "questions"
SUFFIXES = (".apkg", ".gift", ".csv", ".jsonl")
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
def shipped() -> list[Question]:
    return list(Bank.open(BANK).questions.values())


def _back(questions: Sequence[Question], path: Path) -> list[Question]:
    formats.write(questions, path)
    return [question(row) for row in formats.read(path)]


# Round trips


@pytest.mark.parametrize("name", ["all.apkg", "all.gift", "all.gift.txt", "all.csv", "all.jsonl"])
def test_the_shipped_bank_comes_back_whole(shipped: list[Question], tmp_path: Path, name: str) -> None:
    checked = [replace(shipped[0], checks={"open book": 0.9, "second key": [0.1, 0.2]}), *shipped[1:]]
    assert len(checked) == 220 and _back(checked, tmp_path / name) == checked
    assert [p.name for p in tmp_path.iterdir()] == [name]


SNIPPETS = st.sampled_from([
    "%50%", "[html]", "[plain]", "####", "#", "// genl: {}", "$CATEGORY: x", "::", "\\n", "\\", "{", "}", "~", "=", "->", "T",
    "<br>", "<b>x</b>", "&amp;", "&nbsp;", "&#91;", "<!--", "[sound:a.mp3]", "{{question}}", "\x1f", "\0", "'=1+1", "=1+1",
    "@", "-", "''", '"', ",", ";", "\t", "\r\n", "\r", "\n", "\n\n", " ", "1.10", "3/4", "true", "é", "漢字", "\u2028", "\x85", "😀",
])  # fmt: skip
TEXT = st.lists(st.text(max_size=6) | SNIPPETS, max_size=6).map("".join)


@st.composite
def _questions(draw: st.DrawFn) -> Question:
    two = draw(st.booleans())
    options = tuple(draw(st.lists(TEXT, min_size=4 + two, max_size=4 + two)))
    correct = tuple(sorted(draw(st.permutations(range(len(options))))[: 1 + two]))
    why_not = tuple(draw(st.lists(TEXT, min_size=3, max_size=3)))
    return Question(
        "q", 2, "2.1", "easy", "apply", draw(TEXT), options, correct, draw(TEXT), why_not if any(why_not) else (),
        Source("a/b.md", 3, 9, draw(TEXT)), {"said": draw(TEXT)},
    )  # fmt: skip


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, suffix: str) -> None:
    folder = tmp_path_factory.mktemp("any")

    @examples(max_examples=40, deadline=None, database=None)
    @given(st.lists(_questions(), min_size=1, max_size=2))
    def comes_back(drawn: list[Question]) -> None:
        questions = [replace(q, id=f"q{n}") for n, q in enumerate(drawn)]
        assert _back(questions, folder / f"x{suffix}") == questions

    comes_back()


@given(TEXT)
def test_any_text_survives_html_and_leaves_no_tag_in_it(text: str) -> None:
    assert from_html(to_html(text)) == text and not re.search(r"<(?!br>)|[\x00-\x1f]", to_html(text))


def test_what_an_editor_makes_of_a_field_is_read_as_lines() -> None:
    assert from_html("one<div>two&nbsp;words</div><div><b>a</b> &lt; b</div>") == "one\ntwo words\na < b"


# Anki


def _bring(collection: Collection, path: Path) -> None:
    presets = collection._backend.get_import_anki_package_presets()  # what Anki's import dialog offers
    collection.import_anki_package(ImportAnkiPackageRequest(package_path=str(path), options=presets))


def test_anki_updates_its_notes_and_gives_them_back(shipped: list[Question], tmp_path: Path) -> None:
    collection = Collection(str(tmp_path / "collection.anki2"))
    try:
        anki.write(shipped, tmp_path / "a.apkg", 1_800_000_000)
        _bring(collection, tmp_path / "a.apkg")
        assert collection.note_count() == collection.card_count() == 220
        decks = {deck.name for deck in collection.decks.all_names_and_ids()} - {"Default", "GenL Tutor"}
        assert decks == {f"GenL Tutor::{domain.name}" for domain in DOMAINS}
        tagged = collection.find_notes("tag:domain::3 tag:bloom::apply")
        assert len(tagged) == sum(q.domain == 3 and q.bloom == "apply" for q in shipped) > 0

        changed = [replace(shipped[0], explanation="Now <i>this</i>\nis new."), *shipped[1:]]
        anki.write(changed, tmp_path / "b.apkg", 1_800_000_001)
        _bring(collection, tmp_path / "b.apkg")
        assert collection.note_count() == collection.card_count() == 220
        (note_id,) = collection.find_notes(f'"id:{shipped[0].id}"')
        back = collection.get_note(note_id).cards()[0].answer()
        assert "Now &lt;i&gt;this&lt;/i&gt;<br>is new." in back and shipped[0].source.quote in back

        for legacy, held in ((True, "collection.anki21"), (False, "collection.anki21b")):
            out = tmp_path / f"{held}.apkg"
            collection.export_anki_package(
                out_path=str(out), options=ExportAnkiPackageOptions(legacy=legacy), limit=None
            )
            assert held in zipfile.ZipFile(out).namelist()
            found = {row["id"]: question(row) for row in formats.read(out)}
            assert found == {q.id: q for q in changed}
    finally:
        collection.close()


def test_a_card_shows_the_question_first_and_the_key_after(shipped: list[Question], tmp_path: Path) -> None:
    two = next(q for q in shipped if len(q.correct) == 2)
    anki.write([two], tmp_path / "one.apkg")
    collection = Collection(str(tmp_path / "collection.anki2"))
    try:
        _bring(collection, tmp_path / "one.apkg")
        card = collection.get_card(collection.find_cards("")[0])
        front, back = card.question(), card.answer()
        assert all(option in front for option in two.options) and two.question in front
        assert two.explanation not in front and two.letters not in front
        assert all(text in back for text in (two.letters, two.explanation, *two.why_not, two.source.doc_id))
    finally:
        collection.close()


def test_without_zstandard_the_export_option_is_named(
    shipped: list[Question], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "new.apkg", "w") as package:
        package.writestr(
            "collection.anki21b", b"\x28\xb5\x2f\xfd"
        )  # a packed file that stops after its first four bytes
    with pytest.raises(AgentError, match=r"is cut off.*Support older Anki versions"):
        anki.read(tmp_path / "new.apkg")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(AgentError, match=r"needs the package zstandard.*Support older Anki versions"):
        anki.read(tmp_path / "new.apkg")


def test_another_s_deck_is_refused_by_what_it_lacks(tmp_path: Path) -> None:
    deck = genanki.Deck(1, "Capitals")
    deck.add_note(genanki.Note(genanki.BASIC_MODEL, ["France", "Paris"]))
    genanki.Package(deck).write_to_file(tmp_path / "capitals.apkg")
    with pytest.raises(AgentError, match=r"note type 'Basic \(genanki\)' has no field id, question, option_a,"):
        formats.read(tmp_path / "capitals.apkg")


# GIFT


def test_gift_is_what_moodle_reads(tmp_path: Path) -> None:
    one = Question(
        "q:1", 2, "2.1", "easy", "apply", "Is {x} = 1?\nSay.", ("%5% of it", "a~b", "#c", "[d]"), (1,), "So: yes.",
        ("no", "", "not this"), Source("a.md", 0, 1, "x"), {},
    )  # fmt: skip
    two = replace(one, id="q2", options=("a", "b", "c", "d", "e"), correct=(0, 3), why_not=(), explanation="")
    gift.write([one, two], tmp_path / "x.gift")
    lines = (tmp_path / "x.gift").read_text(encoding="utf-8").split("\n")
    assert [line for line in lines if not line.startswith("// genl: {")] == [
        "$CATEGORY: GenL Tutor/Software Development", "",
        r"::q\:1::[plain]Is \{x\} \= 1?\nSay. {", "~[plain]%5% of it#no", r"=a\~b", r"~\#c", "~[plain][d]#not this",
        r"####So\: yes.", "}", "",
        r"::q2::[plain]Is \{x\} \= 1?\nSay. {", "~%50%a", "~%-100%b", "~%-100%c", "~%50%d", "~%-100%e", "}", "",
    ]  # fmt: skip


def test_gift_made_elsewhere_is_read(tmp_path: Path) -> None:
    (tmp_path / "foreign.txt").write_text(
        "\ufeff// question: 12  name: Ports\r\n$CATEGORY: $course$/top/Trustworthy AI\r\n\r\n"
        "::Ports::[html]<p>Which <b>port</b>\r\nis \\#1?</p>{\r\n\t=<p>80 &amp; 81</p>#<p>Right\\: both.</p>\r\n\t~two#no\r\n~three ~four}\r\n"
        "\r\n::T:: Sky is up.{T}\r\n\r\n::T:: Say why. {}\r\n\r\nA \\= b {#3:1}\r\n\r\n"
        "Grant lies in {~%0%Rome ~%100%a tomb#yes ~%50%a field ~a ship\n####He does.} today.\n\nJust text.\n",
        encoding="utf-8",
    )
    rows = formats.read(tmp_path / "foreign.txt")
    assert rows[0] == {
        "id": "Ports", "domain": 5, "question": "Which port is #1?", "options": ["80 & 81", "two", "three", "four"],
        "correct": [0], "explanation": "Right: both.", "why_not": ["no", "", ""],
    }  # fmt: skip
    assert [row["options"] for row in rows[1:4]] == [[], [], []] and rows[5]["options"] == []
    assert rows[4]["question"] == "Grant lies in _____ today." and rows[4]["correct"] == [1]
    assert rows[4]["explanation"] == "He does." and rows[4]["options"][1:3] == ["a tomb", "a field"]
    # A title that is not the only one of its name is no id.
    assert len({row["id"] for row in rows}) == 6 and all(row["id"].startswith("import-") for row in rows[1:])
    assert formats.read(tmp_path / "foreign.txt") == rows


def test_a_text_edited_in_gift_is_taken_as_edited(shipped: list[Question], tmp_path: Path) -> None:
    gift.write(
        [replace(shipped[0], explanation=" Old.\r ", options=("w", *shipped[0].options[1:]))], tmp_path / "x.gift"
    )
    text = (tmp_path / "x.gift").read_text(encoding="utf-8")
    assert question(gift.read(tmp_path / "x.gift")[0]).explanation == " Old.\r "
    (tmp_path / "x.gift").write_text(text.replace("####Old.", "####New."), encoding="utf-8")
    assert question(gift.read(tmp_path / "x.gift")[0]).explanation == "New."


# Tables


def test_no_cell_is_a_formula_and_no_option_becomes_a_number(shipped: list[Question], tmp_path: Path) -> None:
    q = replace(shipped[0], question="=SUM(A1)", options=("+1", "-2", "@x", "3.10"), explanation="'=a", task="1.10")
    table.write([q, *shipped], tmp_path / "x.csv")
    with (tmp_path / "x.csv").open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    cells = [
        rows[0][name] for name in ("question", "option_a", "option_b", "option_c", "option_d", "explanation", "task")
    ]
    assert cells == ["'=SUM(A1)", "'+1", "'-2", "'@x", "'3.10", "''=a", "'1.10"]
    assert not [cell for row in rows for cell in row.values() if cell[:1] in ("=", "+", "-", "@")]
    assert [row["correct"] for row in rows] == [each.letters for each in (q, *shipped)]


def test_a_table_from_a_spreadsheet_s_own_hand(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(
        "Question;Option_A;Option_B;Option_C;Option_D;Option_E;Correct\r\n"
        "Which two are even?;1;2;3;4;5;b, d\r\n;;;;;;\r\nWhich is 7?;6;7;8;9\r\n",
        encoding="utf-8",
    )
    with pytest.raises(AgentError, match=r"x\.csv:4: correct is ''"):
        formats.read(tmp_path / "x.csv")
    text = (tmp_path / "x.csv").read_text(encoding="utf-8")
    (tmp_path / "x.csv").write_text(text.replace("6;7;8;9", "6;7;8;9;;B"), encoding="utf-8")
    first, second = formats.read(tmp_path / "x.csv")
    assert first["correct"] == [1, 3] and len(first["options"]) == 5 and "source" not in first
    assert second["correct"] == [1] and second["options"] == ["6", "7", "8", "9"]


# Mistakes

HEAD = "question,option_a,option_b,option_c,option_d,correct"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.csv", "id,question,option_a,option_b,option_c\n", r":1: no column option_d, correct\. "),
        ("x.csv", f'{HEAD}\nWhat?,1,2,3,4,A\n"Wh\nat?",1,2,3,4,F\n', r":3: correct is 'F'\. "),
        ("x.csv", f'{HEAD}\nWhat?,1,2,3,4,A\n"What,1,2,3,4,A\n', r":3: not CSV"),
        ("x.csv", f"{HEAD}\nWhat, now?,1,2,3,4,A\n", r":2: 7 cells under 6 columns"),
        ("x.csv", f"{HEAD},doc_id,start,end\nWhat?,1,2,3,4,A,a.md,x,9\n", r":2: start is 'x'\. Give a whole number"),
        ("x.csv", f"{HEAD},checks\nWhat?,1,2,3,4,A,7\n", r":2: checks is no JSON object"),
        ("x.csv", f"{HEAD}\nWh\xe9?,1,2,3,4,A\n".encode("latin-1"), r":2: not UTF-8"),
        ("x.csv", HEAD, ": no questions in it"),
        ("x.gift", "// by hand\n\nOne {=a ~b}\n\nTwo {=a ~b\n\nThree {=a ~b}\n", r":5: braces of this question"),
        ("x.gift", "One {=a ~b {c}}\n", r":1: braces of this question"),
        ("x.gift", '::a:: One {=a ~b}\n\n// genl: {"id": "a"\n::a:: One {=a ~b}\n', r":3: the genl comment is damaged"),
        ("x.gift", '\n// genl: {"id": "a"}\n::b:: One {=a ~b}\n', r":3: titled 'b'.* is of 'a'"),
        ("x.jsonl", '{"id": "a"}\n{"id": \n', r":2: not JSON"),
        ("x.jsonl", '{"id": "a"}\n{"id": "a"}\n', r": question id 'a' appears 2 times"),
        ("x.apkg", b"PK", r": not a whole Anki package"),
        ("x.docx", "", r": unknown suffix\. Known are \.apkg"),
    ],
)  # fmt: skip
def test_a_broken_file_is_one_clear_line(tmp_path: Path, name: str, content: str | bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(AgentError, match=rf"^{re.escape(str(path))}{says}") as raised:
        formats.read(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", [f"nowhere{suffix}" for suffix in SUFFIXES])
def test_a_file_that_is_not_there_is_one_clear_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(AgentError, match=f"{name}: no such file"):
        formats.read(tmp_path / name)


def test_a_damaged_package_is_one_clear_line(shipped: list[Question], tmp_path: Path) -> None:
    path = tmp_path / "a.apkg"
    anki.write(shipped[:3], path)
    with zipfile.ZipFile(path) as package:
        whole = package.read("collection.anki2")
    assert len(formats.read(path)) == 3
    for content in (b"", b"no", whole[:600], bytes(28) + whole[28:]):
        with zipfile.ZipFile(path, "w") as package:
            package.writestr("collection.anki2", content)
        with pytest.raises(
            AgentError, match=r"^\S+a\.apkg: the collection in it is damaged .*\. Export the deck again$"
        ):
            formats.read(path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(AgentError, match="not a whole Anki package"):
        formats.read(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_cannot_be_written_leaves_the_old_file(shipped: list[Question], tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    formats.write(shipped[:2], path)
    before = path.read_bytes()
    with pytest.raises(AgentError, match="holds half a character"):
        formats.write([replace(shipped[0], question="\ud800")], path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [path.name]


# Into a bank


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
        system, asked = body["messages"][0]["content"], body["messages"][-1]["content"]
        if "You check a statement" in system:
            return "No"
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
    assert "all.apkg: 220 questions" in capsys.readouterr().out
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
