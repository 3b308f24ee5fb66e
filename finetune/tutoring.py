"""The project's own training set, composed from the notes and from originals written beside them.

`data/sft/originals/FOLDER/NOTE.jsonl` holds, for each note, questions whose answer sentences quote the note, and exam
questions. From those come grounded answers over numbered sources with markers, refusals over sources that do not hold
the answer, both also at the end of conversations and without any source, follow-ups made standalone, exam questions
with reasoning, the agent's decisions and the calculator's programs (data/problems). The split is by note: no sentence of
a test note is in a training sample, not even as a distractor.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from agents import problems
from core import files
from core.errors import DatasetError
from core.exam import LETTERS
from core.paths import ROOT
from core.types import Chunk, Message
from finetune.agent_samples import decisions, programs
from finetune.forms import EXAM, exam_prompt, grounded, sample, source_blocks
from rag import prompts
from rag.chunking import chunk_document
from rag.config import ChunkSettings, LexicalSettings
from rag.documents import load_sources
from rag.lexical import Lexical

SPLITS = ("train", "validation", "test")
WORKED = ROOT / "data" / "problems" / "worked.jsonl"
_CHUNKS = ChunkSettings(chunk_chars=600, overlap_chars=0)
# Share of questions asked again over sources without the answer.
REFUSED = {"train": 0.5, "validation": 0.75, "test": 0.75}
_HELD = 0.5  # a source that holds this share of an answer's stems may hold the answer


@dataclass(frozen=True, slots=True)
class Note:
    """One note: its split, its chunks, its originals."""

    name: str
    split: str
    chunks: tuple[Chunk, ...]
    rows: tuple[dict[str, Any], ...]


def compose(corpus: Path, originals: Path, seed: int = 0) -> dict[str, list[dict[str, Any]]]:
    """All samples by split, as rows `{id, kind, note, messages, …}`. DatasetError names the bad original."""
    notes, worked = _notes(corpus, originals), problems.read(WORKED)
    out: dict[str, list[dict[str, Any]]] = {}
    for split in SPLITS:
        mine = [note for note in notes if note.split == split]
        draw = random.Random(f"{seed}-{split}")
        shelf = _Shelf(mine)
        rows = [*_from_notes(mine, shelf, draw), *decisions(mine, draw)]
        rows += _conversations(mine, shelf, random.Random(f"{seed}-{split}-conversations"))
        rows += programs(split, worked, random.Random(f"{seed}-{split}-programs"))
        if split == "train":
            rows += _other_letters(mine, rows, shelf, random.Random(f"{seed}-{split}-letters"))
        draw.shuffle(rows)
        out[split] = rows
    return out


def write(samples: Mapping[str, Sequence[Mapping[str, Any]]], folder: Path) -> None:
    """`train.jsonl`, `validation.jsonl` and `test.jsonl`, each written beside and renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in samples.items():
        draft = folder / f".{split}.jsonl.tmp"
        draft.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        draft.replace(folder / f"{split}.jsonl")


def splits_of(names: Sequence[str]) -> dict[str, str]:
    """Which split each note is of: of every folder (exam domain) about one note in seven tests, one in twelve validates."""
    found = {}
    for folder in sorted({name.split("/")[0] for name in names}):
        mine = sorted(
            (name for name in names if name.split("/")[0] == folder),
            key=lambda name: hashlib.sha256(name.encode()).hexdigest(),
        )
        tests, validates = max(1, round(len(mine) / 7)), max(1, round(len(mine) / 12))
        for i, name in enumerate(mine):
            found[name] = "test" if i < tests else "validation" if i < tests + validates else "train"
    return found


def _notes(corpus: Path, originals: Path) -> list[Note]:
    documents = {doc.doc_id.removesuffix(".md"): doc for doc in load_sources([corpus])}
    paths = sorted(originals.glob("*/*.jsonl"))
    splits = splits_of([f"{path.parent.name}/{path.stem}" for path in paths])
    found = []
    for path in paths:
        name = f"{path.parent.name}/{path.stem}"
        if name not in documents:
            raise DatasetError(f"{path}: there is no note {name}.md in {corpus}")
        document = documents[name]
        text = _plain(document.text)
        rows = []
        for number, row in files.read_jsonl(path, DatasetError):
            for quote in _quotes(row):
                if _plain(quote) not in text:
                    raise DatasetError(f"{path}:{number}: quotes what the note does not say: {quote[:80]!r}")
            rows.append(row)
        found.append(Note(name, splits[name], tuple(chunk_document(document, _CHUNKS)), tuple(rows)))
    if not found:
        raise DatasetError(f"{originals}: no originals there")
    return found


def _quotes(row: Mapping[str, Any]) -> list[str]:
    if row["kind"] == "exam":
        return [row["quote"]]
    answers = [*row["answer"], *row.get("follow_up", {}).get("answer", [])]
    return [sentence["quote"] for sentence in answers]


class _Shelf:
    """The chunks of one split, and which of them lie near a question without holding its answer."""

    def __init__(self, notes: Sequence[Note]) -> None:
        self.chunks = [chunk for note in notes for chunk in note.chunks]
        self._texts = [_plain(chunk.text) for chunk in self.chunks]
        self._lexical = Lexical.build([f"{c.title}\n{c.text}" for c in self.chunks], LexicalSettings())
        self._stems = [set(tokens) for tokens in self._lexical.tokens(self._texts)]

    def holding(self, quote: str, note: Note) -> Chunk | None:
        """The chunk of the note that holds the whole quote."""
        wanted = _plain(quote)
        return next((chunk for chunk in note.chunks if wanted in _plain(chunk.text)), None)

    def near(self, question: str, answer: Sequence[Mapping[str, str]], note: Note, same_note: bool) -> list[Chunk]:
        """Chunks that share words with the question but hold no sentence of the answer, best first."""
        needed = [set(t) for t in self._lexical.tokens([s["text"] for s in answer])]
        quotes = [_plain(s["quote"]) for s in answer]
        scores = self._lexical.scores(question)
        found = []
        # Equal scores come in the order of the notes, on any CPU.
        for i in np.argsort(-np.round(scores, 3), kind="stable")[:60]:
            if scores[i] <= 0:
                break
            chunk = self.chunks[i]
            if not same_note and chunk.doc_id.startswith(note.name):
                continue
            if any(quote in self._texts[i] for quote in quotes):
                continue
            if any(len(stems & self._stems[i]) > _HELD * len(stems) for stems in needed if stems):
                continue
            found.append(chunk)
        return found


def _from_notes(notes: Sequence[Note], shelf: _Shelf, draw: random.Random) -> Iterator[dict[str, Any]]:
    exams = 0
    for note in notes:
        for number, row in enumerate(note.rows):
            name = f"{note.name}#{number}"
            if row["kind"] == "exam":
                exams += 1
                yield _exam(name, note, row, shelf, draw, with_sources=exams % 2 == 0)
                continue
            yield from _question(name, note, row["question"], row["answer"], shelf, draw)
            follow_up = row.get("follow_up")
            if follow_up:
                asked, standalone, answer = (follow_up[key] for key in ("question", "standalone", "answer"))
                yield from _question(f"{name}-follow-up", note, standalone, answer, shelf, draw)
                history = [
                    Message("user", row["question"]),
                    Message("assistant", " ".join(s["text"] for s in row["answer"])),
                ]
                yield sample(f"{name}-condense", "condense", note.name, [*prompts.condense(asked, history)], standalone)


def _question(
    name: str, note: Note, question: str, answer: Sequence[Mapping[str, str]], shelf: _Shelf, draw: random.Random
) -> Iterator[dict[str, Any]]:
    """The question answered from sources that hold the answer, and refused over sources that do not."""
    # In training twice, among other sources: refusals must stay the smaller part. A refusal's first word is always the
    # same and an answer's is one of many, so at equal parts the likeliest first word is nearly always a refusal.
    names = (name, f"{name}-b") if note.split == "train" else (name,)
    for its_name, (sources, text, gold) in zip(names, _answered(question, answer, note, shelf, draw), strict=False):
        yield sample(its_name, "grounded", note.name, grounded(question, sources), text) | {"gold": gold}
    lacking = shelf.near(question, answer, note, same_note=False)
    if len(lacking) >= 2 and draw.random() < REFUSED[note.split]:
        sources = lacking[: draw.choice((2, 3, 4))]
        draw.shuffle(sources)
        yield sample(f"{name}-refusal", "refusal", note.name, grounded(question, sources), prompts.DECLINE)


def _answered(
    question: str, answer: Sequence[Mapping[str, str]], note: Note, shelf: _Shelf, draw: random.Random
) -> Iterator[tuple[list[Chunk], str, list[int]]]:
    """Sources that hold the answer among others, its text with their numbers, and the numbers; again among yet others."""
    holding = [shelf.holding(sentence["quote"], note) for sentence in answer]
    gold = list(dict.fromkeys(chunk for chunk in holding if chunk is not None))
    if any(chunk is None for chunk in holding) or len(gold) > 3:
        return
    others = shelf.near(question, answer, note, same_note=True)
    for variant in range(2):
        taken = others[2 * variant : 2 * variant + draw.choice((2, 3, 4)) - len(gold)]
        if variant and not taken:
            return
        sources = [*gold, *taken]
        draw.shuffle(sources)
        number = {chunk.chunk_id: n for n, chunk in enumerate(sources, 1)}
        text = " ".join(
            f"{sentence['text'].rstrip()} [{number[chunk.chunk_id]}]"
            for sentence, chunk in zip(answer, holding, strict=True)
            if chunk is not None
        )
        yield sources, text, sorted({number[chunk.chunk_id] for chunk in gold})


_DECLINED = (
    "The sources do not say.", "I do not have that information.", "None of my sources answers this.",
    "I could not find an answer to that in the sources.",
)  # fmt: skip


def _conversations(notes: Sequence[Note], shelf: _Shelf, draw: random.Random) -> Iterator[dict[str, Any]]:
    """Last questions of a conversation, answered or refused by the sources below them; and refusals where there is none.

    What was said earlier is no source: a model that has not seen such rows answers from it, or from memory.
    """
    asked = [row for note in notes for row in note.rows if row["kind"] == "qa"]
    for note in notes:
        mine = [(number, row) for number, row in enumerate(note.rows) if row["kind"] == "qa"]
        followed = [(number, row) for number, row in mine if "follow_up" in row]
        for number, row in followed:
            name, next_turn = f"{note.name}#{number}-conversation", row["follow_up"]
            history = _earlier([*draw.sample(asked, draw.randrange(3)), row], draw, last_answered=True)
            for sources, text, gold in islice(
                _answered(next_turn["standalone"], next_turn["answer"], note, shelf, draw), 1
            ):
                messages = grounded(next_turn["question"], sources, history)
                yield sample(name, "grounded", note.name, messages, text) | {"gold": gold}
            yield sample(
                f"{name}-no-source", "refusal", note.name, grounded(next_turn["question"], (), history), prompts.DECLINE
            )
        number, row = draw.choice(mine)
        name = f"{note.name}#{number}-conversation-last"
        history = _earlier(draw.sample([other for other in asked if other is not row], draw.randrange(1, 5)), draw)
        for sources, text, gold in islice(_answered(row["question"], row["answer"], note, shelf, draw), 1):
            messages = grounded(row["question"], sources, history)
            yield sample(name, "grounded", note.name, messages, text) | {"gold": gold}
        number, row = draw.choice(mine)
        name = f"{note.name}#{number}-conversation"
        history = _earlier(draw.sample([other for other in asked if other is not row], draw.randrange(1, 5)), draw)
        lacking = shelf.near(row["question"], row["answer"], note, same_note=False)[:3]
        if len(lacking) >= 2:
            yield sample(
                f"{name}-refusal", "refusal", note.name, grounded(row["question"], lacking, history), prompts.DECLINE
            )
        number, row = draw.choice(mine)
        yield sample(
            f"{note.name}#{number}-no-source", "refusal", note.name, grounded(row["question"], ()), prompts.DECLINE
        )


def _earlier(rows: Sequence[Mapping[str, Any]], draw: random.Random, last_answered: bool = False) -> list[Message]:
    """Turns of a conversation, a quarter of them without an answer."""
    found = []
    for n, row in enumerate(rows):
        answered = draw.random() < 0.75 or (last_answered and n == len(rows) - 1)
        text = " ".join(sentence["text"] for sentence in row["answer"]) if answered else draw.choice(_DECLINED)
        found += [Message("user", row["question"]), Message("assistant", text)]
    return found


def _other_letters(
    notes: Sequence[Note], rows: Sequence[Mapping[str, Any]], shelf: _Shelf, draw: random.Random
) -> list[dict[str, Any]]:
    """Every exam question of `rows` again under the three other letters, with sources and without by turns.

    A run that sees a part of the set would otherwise learn which letter was frequent in that part, and answer with it.
    """
    first = {row["id"]: row["answer"] for row in rows if row["kind"] == "exam"}
    found = []
    for note in notes:
        for number, row in enumerate(note.rows):
            if row["kind"] != "exam":
                continue
            name = f"{note.name}#{number}"
            for n, letter in enumerate(other for other in LETTERS if other != first[name]):
                wrong = [i for i in range(len(LETTERS)) if i != row["correct"]]
                draw.shuffle(wrong)
                place = LETTERS.index(letter)
                order = [*wrong[:place], row["correct"], *wrong[place:]]
                found.append(_exam(f"{name}-{letter}", note, row, shelf, draw, n % 2 == 0, order))
    return found


def _exam(
    name: str,
    note: Note,
    row: Mapping[str, Any],
    shelf: _Shelf,
    draw: random.Random,
    with_sources: bool,
    order: list[int] | None = None,
) -> dict[str, Any]:
    if order is None:
        order = list(range(4))
        draw.shuffle(order)
    letter = LETTERS[order.index(row["correct"])]
    asked = exam_prompt(row["question"], [row["options"][i] for i in order])
    held = shelf.holding(row["quote"], note) if with_sources else None
    if held is not None:
        sources = [held, *shelf.near(row["question"], [{"text": row["quote"], "quote": row["quote"]}], note, True)[:1]]
        draw.shuffle(sources)
        asked = f"{source_blocks(sources)}\n\n{asked}"
    messages = [Message("system", EXAM), Message("user", asked)]
    return sample(name, "exam", note.name, messages, f"{letter}. {row['reasoning']}") | {"answer": letter}


def _plain(text: str) -> str:
    return " ".join(text.split())
