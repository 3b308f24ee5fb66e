"""Questions, reports and cards as HTML: all foreign text escaped, figures as they are, passages behind their chips."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

from agents.bank import Bank, Question
from agents.config import AgentSettings
from agents.learners import Learners
from agents.study import cards, exams, mastery
from agents.study.scores import score
from app import study_html
from core.paths import CORPUS
from core.types import Document
from rag.documents import load_sources
from tests.app.test_render import EVIL, Tags

BANK = Bank.open(AgentSettings().bank)


def _evil(question: Question) -> Question:
    return replace(
        question, question=EVIL, options=tuple(EVIL for _ in question.options), explanation=EVIL,
        why_not=tuple(EVIL for _ in question.why_not), source=replace(question.source, doc_id=EVIL),
    )  # fmt: skip


def _harmless(html: str) -> None:
    for tag, attributes in Tags(html).tags:
        assert tag not in ("script", "img", "iframe", "object"), tag
        assert not any(name.startswith("on") for name in attributes), attributes
        assert not str(attributes.get("href", "")).startswith("javascript:")


def test_nothing_a_bank_or_card_says_runs(tmp_path: Path) -> None:
    learner = Learners(tmp_path / "l.sqlite").learner("ada")
    evil = Bank({i: _evil(q) for i, q in BANK.questions.items()})
    question = next(iter(evil.questions.values()))
    document = Document(EVIL, "v", EVIL, EVIL)
    exams.begin(learner, evil, 0.0)
    exams.change(learner, lambda s: exams.give(s, 0, [0], "sure"))
    sitting = exams.finish(learner, evil, 60.0)
    done = score(sitting, evil)
    report = study_html.report(done, {EVIL: document}, "k")
    for html in (
        study_html.stem(question, EVIL),
        study_html.explained(question, {0}, document, "k"),
        study_html.overview(sitting),
        report,
        study_html.kept(report, EVIL).split("</style>")[1],
        study_html.card(cards.Card("c", EVIL, EVIL, EVIL, {}, 0.0), True, 1),
        study_html.progress(mastery.latest([]), 0, 0, 0, [EVIL]),
    ):
        _harmless(html)


def test_an_explanation_says_what_was_right_and_opens_the_passage() -> None:
    question = next(q for q in BANK.questions.values() if len(q.correct) == 1)
    document = next(d for d in load_sources([CORPUS]) if d.doc_id == question.source.doc_id)
    html = study_html.explained(question, question.correct, document, "key")
    assert "Right" in html and 'data-passage="key"' in html
    (marked,) = re.findall(r"<mark>(.*?)</mark>", html, re.S)
    assert unescape(" ".join(marked.split())) == " ".join(question.source.quote.split())
    (wrong,) = [i for i in range(4) if i not in question.correct][:1]
    html = study_html.explained(question, {wrong}, None, "key")
    assert f"Not quite: the answer is {question.letters}" in html and "data-passage" not in html
    assert html.count("<li") == 3 and html.count("class=chosen") == 1


def test_backticks_set_code_and_are_never_shown() -> None:
    question = next(q for q in BANK.questions.values() if "`" in q.options[0] and len(q.correct) == 1)
    question = replace(question, explanation="As `a < b` says.")
    (first, _), *_ = study_html.choices(question)
    assert first == "A) " + question.options[0].replace("`", "")
    assert "As <code>a &lt; b</code> says." in study_html.explained(question, question.correct, None, "key")


def test_a_kept_report_holds_everything_itself(tmp_path: Path) -> None:
    learner = Learners(tmp_path / "l.sqlite").learner("ada")
    sitting = exams.begin(learner, BANK, 0.0)
    for n, name in enumerate(sitting.questions):
        right = BANK[name].correct
        exams.change(learner, lambda s, n=n, right=right: exams.give(exams.show(s, n, 10.0 * n), n, right, "unsure"))
    done = score(exams.finish(learner, BANK, 600.0), BANK)
    html = study_html.kept(study_html.report(done, {}, "k"), "Mock exam")
    assert "100% right" in html and "50 of 50" in html and "10 min" in html and "Missed" not in html
    assert not re.search(r'(?:src|href)="(?!data:)', html)
    link = study_html.download(html, "a.html", "text/html", "Keep")
    assert base64.b64decode(link.split("base64,")[1].split('"')[0]).decode() == html


def test_spans_of_time() -> None:
    assert [study_html.span(s) for s in (-5, 30, 600, 7200, 3 * 86_400)] == ["now", "1 min", "10 min", "2 h", "3 d"]
