"""Questions, exam reports, cards and progress as HTML. Everything from a bank or a note is escaped. Pure functions."""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Mapping, Sequence
from html import escape
from pathlib import Path

from agents.bank import OPTION_LETTERS, Question, Source
from agents.study.cards import Card
from agents.study.exams import Sitting
from agents.study.mastery import Point
from agents.study.scores import Answered, Score, Share
from app.render import markdown, marked
from core.exam import DOMAINS, TASKS
from core.types import Document

_STYLE = Path(__file__).parent / "style.css"
_CODE = re.compile(r"`([^`]+)`")


def stem(question: Question, head: str) -> str:
    """The question without its options; they are the form's."""
    ask = '<p class="kind"><b>Choose two.</b></p>' if len(question.correct) == 2 else ""
    return f'<div class="stem"><p class="kind">{escape(head)}</p><div class="asked prose">{markdown(question.question)}</div>{ask}</div>'


def subject(question: Question) -> str:
    """What the question is on."""
    task = TASKS[question.task].text if question.task in TASKS else question.task
    return f"{DOMAINS[question.domain - 1].name} · {task} · {question.difficulty}"


def choices(question: Question) -> list[tuple[str, int]]:
    """The options as a form wants them: what is shown, as plain text, and its index."""
    plain = (_CODE.sub(r"\1", text) for text in question.options)
    return [(f"{letter}) {text}", i) for i, (letter, text) in enumerate(zip(OPTION_LETTERS, plain, strict=False))]


def explained(question: Question, chosen: Collection[int], document: Document | None, key: str) -> str:
    """Right or not, why, why each other option is not, and a chip that opens the passage. `key` is unique to the place."""
    right = question.is_right(chosen)
    verdict = (
        "Right"
        if right
        else f"Not quite: the answer is {question.letters}"
        if chosen
        else f"The answer is {question.letters}"
    )
    why = "".join(
        f"<li{' class=chosen' if i in chosen else ''}><b>{OPTION_LETTERS[i]}</b> {_phrase(text)}</li>"
        for i, text in zip(question.wrong, question.why_not, strict=False)
    )
    return (
        f'<div class="explained {"right" if right else "wrong"}" role="status"><p class="verdict">{verdict}</p>'
        f"<p>{_phrase(question.explanation)}{cited(question.source, document, key)}</p><ul>{why}</ul></div>"
    )


def cited(source: Source, document: Document | None, key: str) -> str:
    """A chip that opens the note at the span; nothing where the index lacks the note."""
    if document is None:
        return ""
    return (
        f' <button type="button" class="chip" data-passage="{escape(key)}" aria-label="Source: {escape(source.doc_id)}" '
        f'title="{escape(source.doc_id)}">notes</button>'
        f'<template id="{escape(key)}">{marked(document, source.start, source.end)}</template>'
    )


def clock(sitting: Sitting, now: float) -> str:
    """Question n of N, and the time left, which the page's script counts down."""
    left = max(0, round(sitting.ends - now))
    return (
        f'<div class="exam-top"><span>Question {sitting.at + 1} of {len(sitting.questions)}</span>'
        f"<span>{sitting.answered()} answered</span>"
        f'<span class="clock" role="timer" data-ends="{sitting.ends:.0f}">{left // 60}:{left % 60:02}</span></div>'
    )


def overview(sitting: Sitting) -> str:
    """What is still open and what is flagged."""
    still = [n for n, q in enumerate(sitting.questions, 1) if not sitting.reply(q).chosen]
    flagged = [n for n, q in enumerate(sitting.questions, 1) if sitting.reply(q).flagged]
    lines = [
        f"{sitting.answered()} of {len(sitting.questions)} answered.",
        f"Open: {_numbers(still)}." if still else "None is open.",
        f"Flagged: {_numbers(flagged)}." if flagged else "None is flagged.",
    ]
    return f'<div class="overview" role="status"><h3>Review</h3><p>{" ".join(lines)}</p></div>'


def report(score: Score, documents: Mapping[str, Document], key: str) -> str:
    """The score report of a sitting, for the page."""
    low, high = score.total.interval
    facts = [
        ("Right", f"{score.total.right} of {score.total.of}"),
        ("95 % interval", f"{low:.0%} to {high:.0%}"),
        ("Time", f"{score.minutes:.0f} min"),
        ("A question", f"{60 * score.minutes / max(1, score.total.of):.0f} s"),
        *([("Left open", str(score.open))] if score.open else []),
        *([("Withdrawn", str(score.withdrawn))] if score.withdrawn else []),
    ]
    told = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    missed = [answer for answer in score.answers if not answer.right]
    sure = "".join(_bar(share) for share in score.confidence if share.of)
    return (
        f'<article class="report"><h2>{score.total.value:.0%} right</h2>'
        f'<dl class="times">{told}</dl><p class="small">NVIDIA does not publish a pass mark.</p>'
        f"<h3>By domain</h3>{_bars(score.domains)}"
        + (f"<h3>How sure you were</h3>{sure}" if sure else "")
        + (f"<h3>Study next</h3>{_study_next(score)}" if score.study_next else "")
        + f"<h3>By task</h3>{_bars(score.tasks)}"
        + f"<h3>What took longest</h3><ol class=slow>{''.join(_timed(a) for a in score.slowest)}</ol>"
        + (f"<h3>Missed</h3>{''.join(_missed(a, documents, key) for a in missed)}" if missed else "")
        + "</article>"
    )


def kept(html: str, title: str) -> str:
    """A report as a file of its own: opens without a network, prints as PDF."""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE.read_text(encoding='utf-8')}\n"
        "body { max-width: 760px; margin: 24px auto; padding: 0 16px; font-family: system-ui, sans-serif; color: var(--ink); }"
        f" button.chip {{ display: none; }}</style><h1>{escape(title)}</h1>{html}</html>"
    )


def download(text: str, name: str, mime: str, label: str) -> str:
    """A link that saves the text as a file."""
    held = base64.b64encode(text.encode()).decode()
    return f'<p><a class="save" download="{escape(name)}" href="data:{mime};base64,{held}">{escape(label)}</a></p>'


def card(shown: Card, open_: bool, left: int) -> str:
    """A card's front, and its back when it is turned."""
    back = f'<div class="back prose">{markdown(shown.back)}</div>' if open_ else ""
    note = f'<p class="kind">{escape(shown.note)}</p>' if open_ and shown.note else ""
    return (
        f'<div class="card"><p class="kind">{left} due today</p><div class="front prose">{markdown(shown.front)}</div>'
        f"{back}{note}</div>"
    )


def nothing_due(count: int, next_due: str) -> str:
    """No card waits."""
    if not count:
        told = "No cards yet. Questions you miss become cards; you can also make some from a note below."
    else:
        told = f"Nothing is due. {count} cards are kept, the next is due {escape(next_due)}."
    return f'<div class="lobby"><h2>All done</h2><p>{told}</p></div>'


def progress(points: Mapping[str, Point | None], answered: int, reviews: int, due: int, exams: Sequence[str]) -> str:
    """How the learner stands."""
    facts = [("Practice answers", answered), ("Mock exams", len(exams)), ("Reviews", reviews), ("Due now", due)]
    told = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    bars = [
        Share(f"{d.name} ({d.weight} %)", round(p.mastery * p.answered), p.answered)
        if (p := points[d.name])
        else Share(f"{d.name} ({d.weight} %)", 0, 0)
        for d in DOMAINS
    ]
    sat = "".join(f"<li>{escape(line)}</li>" for line in exams)
    return (
        f'<article class="report"><dl class="times">{told}</dl><h3>Mastery by domain</h3>{_bars(bars)}'
        + (f"<h3>Mock exams</h3><ul>{sat}</ul>" if exams else "")
        + "</article>"
    )


def span(seconds: float) -> str:
    """A time ahead, as people say it."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return "now" if seconds <= 0 else "1 min"


def _numbers(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _bars(shares: Sequence[Share]) -> str:
    return "".join(_bar(share) for share in shares)


def _bar(share: Share) -> str:
    value = f"{share.right} of {share.of}" if share.of else "none yet"
    return (
        f'<div class="bar"><span class="name">{escape(share.name)}</span><span class="rail"><i style="width:{share.value:.0%}"></i></span>'
        f'<span class="value">{value}</span></div>'
    )


def _study_next(score: Score) -> str:
    rows = "".join(
        f"<li><b>{escape(task)}</b>: {', '.join(escape(note) for note in notes)}</li>"
        for task, notes in score.study_next
    )
    return f"<ol>{rows}</ol>"


def _timed(answer: Answered) -> str:
    return f"<li>{answer.reply.seconds:.0f} s: {answer.number}. {_phrase(answer.question.question)}</li>"


def _missed(answer: Answered, documents: Mapping[str, Document], key: str) -> str:
    question, chosen = answer.question, answer.reply.chosen
    given = "; ".join(question.options[i] for i in chosen) or "nothing"
    return (
        f'<section class="missed"><p><b>{answer.number}.</b> {_phrase(question.question)}</p>'
        f'<p class="small">You chose: {_phrase(given)}. Right: {_phrase("; ".join(question.options[i] for i in question.correct))}.</p>'
        f"{explained(question, chosen, documents.get(question.source.doc_id), f'{key}-{answer.number}')}</section>"
    )


def _phrase(text: str) -> str:
    """One line in which backticks set code."""
    return _CODE.sub(r"<code>\1</code>", escape(text))
