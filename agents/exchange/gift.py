"""Questions in Moodle's GIFT: what GIFT has no place for stands in a comment, `// genl: {…}`, before each question."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agents.bank import Question
from agents.errors import AgentError
from agents.exchange import utf8
from agents.exchange.cells import filled, to_cells
from agents.exchange.markup import from_html
from core import files
from core.exam import DOMAINS

_OURS = "// genl:"
_CATEGORY = "$CATEGORY:"
_RESERVED = re.compile(r"[\\~=#{}:]")
_ESCAPED = re.compile(r"\\([\\~=#{}:n])")
_SYNTAX = re.compile(r"\\.|(####|[~=#{}])", re.DOTALL)
_TITLE = re.compile(r"::((?:\\.|(?!::).)*)::", re.DOTALL)
_FORMAT = re.compile(r"\[(html|moodle|plain|markdown)\]")
_WEIGHT = re.compile(r"%(-?\d+(?:\.\d+)?)%")
_META = ("domain", "task", "difficulty", "bloom", "source", "checks")


@dataclass(frozen=True, slots=True)
class _Block:
    """The lines of one question, from line `number` on, with the comment and the category that go with them."""

    number: int
    text: str
    ours: dict[str, Any] | None
    category: str


def write(questions: Sequence[Question], path: Path) -> None:
    """Replaces `path`; a category line wherever the domain changes."""
    names = {d.number: d.name for d in DOMAINS}
    out, domain = [], None
    for q in questions:
        if q.domain != domain and q.domain in names:
            out.append(f"{_CATEGORY} GenL Tutor/{names[q.domain]}\n")
        domain = q.domain
        out.append(_written(q))
    files.write(path, "\n".join(out))


def read(path: Path) -> list[dict[str, Any]]:
    """Question rows. Those without our comment lack a source; other kinds of question come as rows without options.

    AgentError names the line where the syntax breaks.
    """
    blocks = list(_blocks(path))
    found = [_row(block, path) for block in blocks]
    # Elsewhere a title need not be the only one of its name: then it identifies nothing.
    titles = Counter(row.get("id") for row in found)
    for row, block in zip(found, blocks, strict=True):
        if block.ours is None and titles[row.get("id")] > 1:
            row.pop("id", None)
    return found


def _written(q: Question) -> str:
    to_cells(q)  # refuses what has no place
    texts = _texts(asdict(q))
    lost = {str(n): text for n, text in enumerate(texts) if text != _held(text)}
    ours = {"id": q.id} | {name: asdict(q)[name] for name in _META} | ({"exact": lost} if lost else {})
    why_not = iter(q.why_not)
    lines = [f"{_OURS} {json.dumps(ours, ensure_ascii=False)}", f"::{_escaped(q.id)}::[plain]{_escaped(q.question)} {{"]
    for i, option in enumerate(q.options):
        right, single = i in q.correct, len(q.correct) == 1
        mark = ("=" if right else "~") if single else f"~%{100 / len(q.correct):g}%" if right else "~%-100%"
        why = "" if right else _escaped(next(why_not, ""))
        lines.append(mark + _marked(option) + (f"#{_protected(why)}" if why else ""))
    if _held(q.explanation):
        lines.append(f"####{_marked(q.explanation)}")
    return "\n".join([*lines, "}", ""])


def _texts(row: dict[str, Any]) -> list[str]:
    return [row["question"], row["explanation"], *row["options"], *row["why_not"]]


def _held(text: str) -> str:
    """What GIFT keeps of a text."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def _escaped(text: str) -> str:
    return _RESERVED.sub(lambda found: "\\" + found[0], _held(text)).replace("\n", "\\n")


def _marked(text: str) -> str:
    return _protected(_escaped(text))


def _protected(text: str) -> str:
    """The text, behind its format where its beginning would be read as a format or a weight."""
    return f"[plain]{text}" if text.startswith(("[", "%")) else text


def _blocks(path: Path) -> Iterator[_Block]:
    """Questions are parted by blank lines; comment lines go wherever they like."""
    ours: dict[str, Any] | None = None
    category, held, began = "", list[str](), 0
    lines = utf8.text(path).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for number, line in enumerate([*lines, ""], 1):
        bare = line.strip()
        if bare.startswith(_OURS):
            ours = _comment(bare.removeprefix(_OURS), f"{path}:{number}")
        elif bare.startswith(_CATEGORY) and not held:
            category = bare.removeprefix(_CATEGORY).split("/")[-1].strip()
        elif bare and not bare.startswith("//"):
            began = began if held else number
            held.append(line)
        elif not bare and held:
            yield _Block(began, "\n".join(held), ours, category)
            ours, held = None, []


def _comment(text: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
        whole = isinstance(found["id"], str) and all(isinstance(t, str) for t in found.get("exact", {}).values())
    except (ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise AgentError(f"{where}: the genl comment is damaged. Put it back as it was exported, or remove the line")
    return dict(found)


def _row(block: _Block, path: Path) -> dict[str, Any]:
    where = f"{path}:{block.number}"
    text = block.text.strip()
    title = _TITLE.match(text)
    name, text = (_plain(title[1]), text[title.end() :]) if title else ("", text)
    stem, answers = _parted(text, where)
    kind = _FORMAT.match(stem.strip())
    markup = kind[1] if kind else "moodle"
    row: dict[str, Any] = {"question": _plain(stem, markup)} | _answers(answers, markup)
    for domain in DOMAINS:
        if domain.name == block.category:
            row["domain"] = domain.number
    if name:
        row["id"] = name
    if block.ours is not None:
        if _held(block.ours["id"]) != name:
            raise AgentError(
                f"{where}: titled {name!r}, and the genl comment before it is of {block.ours['id']!r}. Remove the comment"
            )
        row |= {name: block.ours[name] for name in ("id", *_META) if name in block.ours}
        row = _exact(row, block.ours.get("exact", {}))
    return row | {"why_not": filled(row["why_not"])}


def _exact(row: dict[str, Any], lost: dict[str, str]) -> dict[str, Any]:
    """The row with the texts that GIFT could not hold, unless they were changed since."""
    texts = _texts(row)
    texts = [lost[str(n)] if str(n) in lost and _held(lost[str(n)]) == t else t for n, t in enumerate(texts)]
    options = 2 + len(row["options"])
    return row | {
        "question": texts[0], "explanation": texts[1], "options": texts[2:options], "why_not": texts[options:],
    }  # fmt: skip


def _parted(text: str, where: str) -> tuple[str, str]:
    """Stem and answers; text after the answers means a gap in the stem. A text without answers is none of ours."""
    braces = [found for found in _SYNTAX.finditer(text) if found[1] in ("{", "}")]
    if not braces:
        return text, ""
    if [found[1] for found in braces] != ["{", "}"]:
        raise AgentError(f"{where}: braces of this question do not match. Write \\{{ and \\}} where they are text")
    (a, b), after = (found.start() for found in braces), text[braces[1].end() :].strip()
    return text[:a] + (f"_____ {after}" if after else ""), text[a + 1 : b]


def _answers(text: str, markup: str) -> dict[str, Any]:
    """Options, the right ones, why the wrong ones are wrong, and the explanation."""
    marks = [found for found in _SYNTAX.finditer(text) if found[1]]
    general = [found for found in marks if found[1] == "####"]
    explanation = text[general[-1].end() :] if general else ""
    end = general[-1].start() if general else len(text)
    starts = [found for found in marks if found[1] in ("=", "~") and found.start() < end]
    options, weights, feedback = [], [], []
    if not starts or text[: starts[0].start()].strip():
        starts = []  # a number, a truth value, an essay
    for mark, following in zip(starts, [*(s.start() for s in starts[1:]), end], strict=False):
        answer = text[mark.end() : following].strip()
        weight = _WEIGHT.match(answer)
        answer = answer[weight.end() :] if weight else answer
        hash_at = next((found.start() for found in _SYNTAX.finditer(answer) if found[1]), len(answer))
        options.append(_plain(answer[:hash_at], markup))
        feedback.append(_plain(answer[hash_at + 1 :], markup))
        weights.append(float(weight[1]) if weight else 100.0 if mark[1] == "=" else 0.0)
    least = 100.0 if 100.0 in weights else 0.001  # beside a whole point, part of one is not right
    correct = [i for i, weight in enumerate(weights) if weight >= least]
    return {
        "options": options, "correct": correct, "why_not": [f for i, f in enumerate(feedback) if i not in correct],
        "explanation": _plain(explanation, markup) or next((feedback[i] for i in correct if feedback[i]), ""),
    }  # fmt: skip


def _plain(text: str, markup: str = "plain") -> str:
    """The text without escapes and format."""
    text = text.strip()
    named = _FORMAT.match(text)
    if named:
        markup, text = named[1], text[named.end() :]
    text = _ESCAPED.sub(lambda found: "\n" if found[1] == "n" else found[1], text)
    return (from_html(text) if markup == "html" else text).strip()
