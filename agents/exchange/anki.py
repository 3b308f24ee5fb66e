"""Questions as an Anki package. A note is known by its question's id, so that importing a later export updates it."""

from __future__ import annotations

import json
import sqlite3
import time
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

from agents.bank import OPTION_LETTERS, Question
from agents.errors import AgentError
from agents.exchange.cells import COLUMNS, NEEDED, OPTIONS, WHY_NOT, to_cells, to_row
from agents.exchange.markup import from_html, to_html
from core import files
from core.exam import DOMAINS

# Never to change: Anki knows note type and decks by them.
_NOTE_TYPE_ID, _DECK_ID = 1_763_251_907, 1_763_251_920
_NAME = "GenL Tutor"
_COLLECTIONS = ("collection.anki21b", "collection.anki21", "collection.anki2")  # the newest first; older are stand-ins
_FRONT = '<div class="text">{{question}}</div>' + "".join(
    f'{{{{#{name}}}}}<div class="text option"><b>{letter}</b> {{{{{name}}}}}</div>{{{{/{name}}}}}'
    for letter, name in zip(OPTION_LETTERS, OPTIONS, strict=True)
)
_BACK = (
    '{{FrontSide}}<hr id="answer"><div><b>{{correct}}</b></div><div class="text">{{explanation}}</div>'
    + "".join(
        f'{{{{#{name}}}}}<div class="text why"><b>Not {letter}:</b> {{{{{name}}}}}</div>{{{{/{name}}}}}'
        for letter, name in zip(OPTION_LETTERS, WHY_NOT, strict=True)
    )
    + '<blockquote class="text">{{quote}}</blockquote><cite>{{doc_id}}</cite>'
)
_CSS = """.card { font-family: sans-serif; font-size: 18px; text-align: left; max-width: 42em; margin: 0 auto; }
.text { white-space: pre-wrap; margin: .5em 0; }
.option { margin-left: 1em; }
.why, blockquote, cite { font-size: 85%; }
"""


def write(questions: Sequence[Question], path: Path, changed_at: float | None = None) -> None:
    """Replaces `path`: a deck with a subdeck for each domain. Notes count as changed at that Unix time, or now.

    Anki updates a note it has only where this one was changed later, by whole seconds.
    """
    import genanki  # type: ignore[import-untyped]

    note_type = genanki.Model(
        _NOTE_TYPE_ID,
        f"{_NAME} question",
        fields=[{"name": name} for name in COLUMNS],
        templates=[{"name": "Question", "qfmt": _FRONT, "afmt": _BACK}],
        css=_CSS,
    )
    names = {d.number: f"{_NAME}::{d.name}" for d in DOMAINS}
    decks: dict[int, Any] = {}
    for q in questions:
        number = q.domain if q.domain in names else 0
        deck = decks.setdefault(number, genanki.Deck(_DECK_ID + number, names.get(number, _NAME)))
        fields = [to_html(text) for text in to_cells(q).values()]
        deck.add_note(genanki.Note(note_type, fields, guid=genanki.guid_for(_NAME, q.id), tags=_tags(q)))
    now = time.time() if changed_at is None else changed_at
    with closing(sqlite3.connect(":memory:")) as db:
        # genanki's own writer leaves a copy of the collection among the temporary files.
        genanki.Package(list(decks.values())).write_to_db(db.cursor(), now, count(int(now * 1000)))
        db.commit()
        collection = db.serialize()
    with files.replacing(path) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("collection.anki2", collection)
        package.writestr("media", "{}")


def read(path: Path) -> list[dict[str, Any]]:
    """Question rows of a package whose notes have our fields. AgentError says what is missing where they do not."""
    found = []
    try:
        with closing(_opened(path)) as db:
            types = _note_types(db)
            notes = db.execute("select mid, flds from notes order by id").fetchall()
    except (sqlite3.Error, ValueError, KeyError) as error:
        raise AgentError(f"{path}: the collection in it is damaged ({error}). Export the deck again") from None
    for number, (type_id, joined) in enumerate(notes, 1):
        name, columns = types.get(str(type_id), ("", []))
        missing = [column for column in ("id", *NEEDED) if column not in columns]
        if missing:
            raise AgentError(
                f"{path}: its note type {name!r} has no field {', '.join(missing)}. Export the deck “{_NAME}” alone"
            )
        texts = dict(zip(columns, map(from_html, joined.split("\x1f")), strict=False))
        found.append(to_row(texts, f"{path}: note {number} ({texts.get('id', '')})"))
    return found


def _tags(q: Question) -> list[str]:
    named = {"domain": str(q.domain), "task": q.task, "bloom": q.bloom, "difficulty": q.difficulty}
    return [f"{name}::{'-'.join(value.split())}" for name, value in named.items() if value.split()]


def _opened(path: Path) -> sqlite3.Connection:
    """The package's newest collection, in memory."""
    try:
        with zipfile.ZipFile(path) as package:
            held = set(package.namelist())
            name = next((n for n in _COLLECTIONS if n in held), None)
            if name is None:
                raise AgentError(f"{path}: no Anki collection in it. In Anki, export the deck as .apkg")
            content = package.read(name)
    except FileNotFoundError:
        raise AgentError(f"{path}: no such file") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise AgentError(f"{path}: not a whole Anki package ({error}). In Anki, export the deck as .apkg") from None
    content = _unpacked(content, path) if name.endswith("b") else content
    db = sqlite3.connect(":memory:")
    # Bytes 18 and 19 may say that there is a write-ahead log, which a database in memory cannot have, nor this one needs.
    db.deserialize(content[:18] + b"\x01\x01" + content[20:])
    db.create_collation("unicase", lambda a, b: (a.casefold() > b.casefold()) - (a.casefold() < b.casefold()))
    return db


def _unpacked(content: bytes, path: Path) -> bytes:
    """The collection as newer Anki packs it."""
    again = "Export the deck again with “Support older Anki versions” ticked"
    try:
        import zstandard
    except ImportError:
        raise AgentError(f"{path}: packed by newer Anki, which needs the package zstandard. {again}") from None
    stream = zstandard.ZstdDecompressor().decompressobj()
    try:
        found = stream.decompress(content)
    except zstandard.ZstdError as error:
        raise AgentError(f"{path}: the collection in it cannot be unpacked ({error}). {again}") from None
    if not stream.eof:
        raise AgentError(f"{path}: the collection in it is cut off. {again}")
    return found


def _note_types(db: sqlite3.Connection) -> dict[str, tuple[str, list[str]]]:
    """Name and fields of each note type, by id: from tables in newer collections, from JSON in older ones."""
    if db.execute("select 1 from sqlite_master where name = 'notetypes'").fetchone():
        fields = db.execute("select ntid, name from fields order by ntid, ord").fetchall()
        return {
            str(type_id): (name, [field for of, field in fields if of == type_id])
            for type_id, name in db.execute("select id, name from notetypes").fetchall()
        }
    (models,) = db.execute("select models from col").fetchone()
    return {
        key: (model["name"], [field["name"] for field in model["flds"]]) for key, model in json.loads(models).items()
    }
