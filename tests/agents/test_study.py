"""The study loop: exams by the blueprint that survive anything, cards as the fsrs package schedules them, data that moves."""

from __future__ import annotations

import json
import random
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fsrs import Card, Rating, Scheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.bank import Bank
from agents.config import AgentSettings
from agents.errors import AgentError
from agents.learners import Learner, Learners
from agents.study import cards, exams, mastery, practice
from agents.study.scores import Share, score
from core.exam import DOMAINS

NOW = 1_790_000_000.0


@pytest.fixture(scope="module")
def bank() -> Bank:
    return Bank.open(AgentSettings().bank)


@pytest.fixture
def learner(tmp_path: Path) -> Learner:
    return Learners(tmp_path / "learners.sqlite").learner("ada")


def test_an_exam_follows_the_blueprint_and_prefers_the_new(bank: Bank, learner: Learner) -> None:
    first = exams.compose(bank, learner, seed=1)
    assert [sum(q.domain == d.number for q in first) for d in DOMAINS] == [15, 12, 11, 7, 5]
    assert len({q.id for q in first}) == 50
    for question in first:
        learner.mark(question.id, question.task, "note", True)
    again = exams.compose(bank, learner, seed=1)
    assert not {q.id for q in first} & {q.id for q in again}
    with pytest.raises(AgentError, match="needs 15 questions on Core"):
        exams.compose(Bank({q.id: q for q in first if q.domain != 1}), learner)


def test_a_sitting_is_kept_at_every_step_and_scored(bank: Bank, learner: Learner) -> None:
    sitting = exams.begin(learner, bank, NOW, seed=2)
    assert exams.begin(learner, bank, NOW + 5).id == sitting.id  # the open one, not another
    for index, question_id in enumerate(sitting.questions[:40]):
        question = bank[question_id]
        wrong = [i for i in range(len(question.options)) if i not in question.correct][: len(question.correct)]
        given, sure = (question.correct, "sure" if index < 20 else "guessed") if index < 30 else (wrong, "guessed")
        exams.change(learner, lambda s, index=index: exams.show(s, index, NOW + 30 * index))
        changed = exams.change(learner, lambda s, i=index, given=given, sure=sure: exams.give(s, i, given, sure))
        changed = exams.change(learner, exams.flag) if index == 7 else changed
        assert exams.current(learner) == changed
    done = exams.finish(learner, bank, NOW + 1200)
    assert done is not None and exams.current(learner) is None and exams.ended(learner) == [done]
    assert exams.finish(learner, bank, NOW + 9999) is None  # ends once
    assert exams.change(learner, exams.flag) is None and exams.ended(learner) == [done]

    told = score(done, bank)
    assert (told.total.right, told.total.of, told.open, told.minutes) == (30, 50, 10, 20.0)
    assert [s.of for s in told.domains] == [15, 12, 11, 7, 5] and sum(s.of for s in told.tasks) == 50
    assert {s.name: (s.right, s.of) for s in told.confidence} == {
        "sure": (20, 20),
        "unsure": (0, 0),
        "guessed": (10, 20),
    }
    assert [a.reply.seconds for a in told.answers[:3]] == [30.0, 30.0, 30.0]
    assert sum(r.seconds for r in done.replies.values()) == pytest.approx(1200)
    assert len(told.study_next) == 3 and len(told.slowest) == 5
    assert len(learner.marks()) == 40 and len(cards.all_cards(learner)) == 10  # what was left open is no mark
    assert learner.marks()[0].confidence == "sure" and learner.marks()[0].seconds == 30.0

    gone = bank.without([done.questions[0]])
    assert score(done, gone).withdrawn == 1 and score(done, gone).total.of == 49


def test_of_clicks_that_cross_none_is_lost(bank: Bank, learner: Learner) -> None:
    sitting = exams.begin(learner, bank, NOW)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: exams.change(learner, lambda s: exams.give(s, i, [i % 4], "sure")), range(50)))
    kept = exams.current(learner)
    assert kept is not None and [kept.reply(q).chosen for q in sitting.questions] == [(i % 4,) for i in range(50)]


def test_time_over_ends_a_sitting_at_its_end(bank: Bank, learner: Learner) -> None:
    sitting = exams.begin(learner, bank, NOW)
    assert not exams.over(sitting, NOW + 3599) and exams.over(sitting, NOW + 3600)
    done = exams.finish(learner, bank, NOW + 90_000)
    assert done is not None and done.ended == NOW + 3600 and done.replies[done.questions[0]].seconds == 3600


def test_wilson_against_known_bounds() -> None:
    # Wilson (1927), as computed by hand for 8 of 10 and at the edges.
    assert Share("", 8, 10).interval == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert Share("", 0, 10).interval == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert Share("", 0, 0).interval == (0.0, 1.0)


def test_schedules_are_the_fsrs_packages_own(learner: Learner) -> None:
    history = [
        ("good", 0.0),
        ("good", 0.01),
        ("hard", 3.0),
        ("again", 9.5),
        ("good", 9.51),
        ("easy", 14.0),
        ("good", 60.0),
    ]
    card_id = cards.add(learner, "What is LoRA?", "Low-rank adaptation", "lora.md", NOW)
    theirs, plan = Card(due=datetime.fromtimestamp(NOW, UTC)), Scheduler(enable_fuzzing=False)
    for rating, day in history:
        at = NOW + day * cards.DAY_S
        before = next(c for c in cards.all_cards(learner) if c.id == card_id)
        ahead = cards.intervals(before, at)
        mine = cards.review(learner, card_id, rating, at)
        theirs, _ = plan.review_card(
            theirs, Rating[rating.capitalize()], datetime.fromtimestamp(NOW, UTC) + timedelta(days=day)
        )
        assert mine.due == pytest.approx(theirs.due.timestamp(), abs=1e-3)
        assert mine.state["stability"] == pytest.approx(theirs.stability) and mine.state["difficulty"] == pytest.approx(
            theirs.difficulty
        )
        assert ahead[rating] == pytest.approx(mine.due - at)
    assert len(cards.reviewed(learner)) == len(history)
    assert not cards.due(learner, NOW + 61 * cards.DAY_S) and cards.due(learner, mine.due)


def test_a_missed_question_is_one_card_and_right_ones_are_none(bank: Bank, learner: Learner) -> None:
    question = practice.choose(bank, learner)
    assert practice.grade(learner, question, question.correct, NOW) and not cards.all_cards(learner)
    other = practice.choose(bank, learner, avoid=question.id)
    assert other.id != question.id
    for _ in range(2):
        assert not practice.grade(learner, other, {i for i in range(4) if i not in other.correct}, NOW)
    (card,) = cards.all_cards(learner)
    assert other.question in card.front and other.explanation in card.back and card.due == NOW
    assert cards.forecast(learner, NOW, 3) == [1, 0, 0]
    with pytest.raises(AgentError, match="a rating is one of"):
        cards.review(learner, card.id, "perfect", NOW)
    with pytest.raises(AgentError, match="front and a back"):
        cards.add(learner, " ", "x", "", NOW)


def test_practice_asks_the_new_then_the_missed_then_the_known(bank: Bank, learner: Learner) -> None:
    few = Bank({q.id: q for q in [q for q in bank.questions.values() if q.domain == 5][:3]})
    order = []
    for n, right in enumerate((True, False, True)):
        question = practice.choose(few, learner, 5)
        practice.grade(learner, question, question.correct if right else (), NOW + n)
        order.append(question.id)
    assert len(set(order)) == 3
    assert practice.choose(few, learner).id == order[1]
    assert practice.choose(few, learner, avoid=order[1]).id == order[0]
    with pytest.raises(AgentError, match="no question of this domain"):
        practice.choose(few, learner, 1)


def test_a_reported_question_leaves_the_bank_and_comes_back(bank: Bank, learner: Learner) -> None:
    question = practice.choose(bank, learner)
    learner.report(question.id, "two options are right")
    assert question.id not in bank.without(learner.store.reported()).questions
    learner.store.forget("ada")
    assert learner.store.reported() == {question.id}  # without a name
    assert "ada" not in "".join(map(str, sqlite3.connect(learner.store.path).iterdump()))
    learner.store.restore(question.id)
    assert not learner.store.reported()


def test_an_older_file_is_copied_and_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "learners.sqlite"
    with sqlite3.connect(path) as db:
        db.execute(
            "create table answers (learner text not null, question_id text not null, task text not null, topic text not null,"
            " correct integer not null, at real not null)"
        )
        db.execute("create index answers_by_learner on answers (learner, at)")
        db.execute("insert into answers values ('ada', 'q1', '1.1', 'note', 1, 5.0)")
    store = Learners(path)
    (mark,) = store.learner("ada").marks()
    assert (mark.question_id, mark.correct, mark.seconds, mark.confidence) == ("q1", True, None, "")
    with sqlite3.connect(tmp_path / "learners.sqlite.v1") as copy:
        assert copy.execute("select * from answers").fetchall() == [("ada", "q1", "1.1", "note", 1, 5.0)]
    Learners(path)  # a second opening changes nothing
    with sqlite3.connect(path) as db:
        db.execute("pragma user_version = 99")
    with pytest.raises(AgentError, match="newer version"):
        Learners(path)


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "learners.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("create table answers (learner text)")
        db.execute("create table reports (mine text)")  # the second step will find its place taken
        db.execute("insert into answers values ('ada')")
    with pytest.raises(AgentError, match="cannot be used for learners"):
        Learners(path)
    with sqlite3.connect(path) as db:
        assert db.execute("select * from answers").fetchall() == [("ada",)]
        assert not db.execute("select name from sqlite_master where name = 'cards'").fetchall()


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**31), st.integers(0, 25))
def test_progress_moves_whole_or_not_at_all(tmp_path_factory: pytest.TempPathFactory, seed: int, count: int) -> None:
    draw = random.Random(seed)
    store = Learners(tmp_path_factory.mktemp("moved") / "l.sqlite")
    ada, bob = store.learner("ada"), store.learner("bob")
    for n in range(count):
        ada.mark(
            f"q{n}", "1.1", "näté", draw.random() < 0.5, draw.random() * 60, draw.choice(exams.CONFIDENCE), NOW + n
        )
        cards.add(ada, f"front {n} ✓", "back", "note.md", NOW + n)
    told = json.loads(json.dumps(ada.export()))
    assert bob.restore(told) == 2 * count and bob.export() == told
    broken = {**told, "cards": [{"id": "x"}]}
    with pytest.raises(AgentError, match="nothing was changed"):
        bob.restore(broken)
    assert bob.export() == told
    with pytest.raises(AgentError, match="no progress exported here"):
        bob.restore({"some": "json"})
    assert store.forget("ada") == 2 * count and bob.export() == told


def test_mastery_counts_each_questions_last_answer(learner: Learner) -> None:
    for n, (question, right) in enumerate((("a", False), ("b", True), ("a", True), ("c", False))):
        learner.mark(question, "2.1", "note", right, at=NOW + n * cards.DAY_S)
    points = mastery.over_time(learner.marks())
    assert [(p.mastery, p.answered) for p in points] == [(0, 1), (0.5, 2), (1.0, 2), (2 / 3, 3)]
    found = mastery.latest(points)
    assert found["Software Development"] == points[-1] and found["Trustworthy AI"] is None


def test_sittings_are_values(bank: Bank, learner: Learner) -> None:
    sitting = exams.begin(learner, bank, NOW)
    later = exams.give(exams.show(sitting, 3, NOW + 10), 3, [1, 1, 0], "sure")
    assert not sitting.replies and later.reply(later.questions[3]).chosen == (0, 1)
    assert exams.flag(exams.flag(later)) == later
    assert exams.show(sitting, 999, NOW).at == 49 and exams.show(sitting, -5, NOW).at == 0
