"""Questions out to Anki, Moodle, tables and JSON lines, and back in."""

from __future__ import annotations

import csv
import re
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import genanki
import pytest
from anki.collection import Collection, ExportAnkiPackageOptions, ImportAnkiPackageRequest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from agents.bank import Bank, Question, Source, question
from agents.errors import AgentError
from agents.exchange import anki, formats, gift, table
from agents.exchange.markup import from_html, to_html
from core.exam import DOMAINS
from core.paths import ROOT

BANK = ROOT / "data" / "questions"
SUFFIXES = (".apkg", ".gift", ".csv", ".jsonl")


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
    assert len(checked) >= 200 and _back(checked, tmp_path / name) == checked
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
        assert collection.note_count() == collection.card_count() == len(shipped) >= 200
        decks = {deck.name for deck in collection.decks.all_names_and_ids()} - {"Default", "GenL Tutor"}
        assert decks == {f"GenL Tutor::{domain.name}" for domain in DOMAINS}
        tagged = collection.find_notes("tag:domain::3 tag:bloom::apply")
        assert len(tagged) == sum(q.domain == 3 and q.bloom == "apply" for q in shipped) > 0

        changed = [replace(shipped[0], explanation="Now <i>this</i>\nis new."), *shipped[1:]]
        anki.write(changed, tmp_path / "b.apkg", 1_800_000_001)
        _bring(collection, tmp_path / "b.apkg")
        assert collection.note_count() == collection.card_count() == len(shipped) >= 200
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
