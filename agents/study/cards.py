"""Flashcards and when they are due, by FSRS (the fsrs package): over questions missed, and over what notes say."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from agents.bank import Question
from agents.errors import AgentError
from agents.learners import Learner

if TYPE_CHECKING:
    from fsrs import Scheduler

RATINGS = ("again", "hard", "good", "easy")  # FSRS's 1 to 4
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Card:
    """One card: Markdown on both sides, the note it is about, FSRS's state of it; `due` in seconds since 1970."""

    id: str
    front: str
    back: str
    note: str
    state: dict[str, Any]
    due: float


def add_question(learner: Learner, question: Question, now: float) -> None:
    """A card of a missed question; one that is there already stays as it is."""
    options = "\n".join(f"- {option}" for option in question.options)
    keys = "; ".join(question.options[i] for i in question.correct)
    add(
        learner,
        f"{question.question}\n\n{options}",
        f"**{keys}**\n\n{question.explanation}\n\n> {question.source.quote}",
        question.source.doc_id,
        now,
        f"question:{question.id}",
    )


def add(learner: Learner, front: str, back: str, note: str, now: float, card_id: str = "") -> str:
    """A new card, due at once; its id. AgentError where a side is empty."""
    front, back = front.strip(), back.strip()
    if not front or not back:
        raise AgentError("a card needs a front and a back")
    from fsrs import Card as Fsrs

    card_id = card_id or "card:" + hashlib.sha256(f"{front}\0{back}".encode()).hexdigest()[:16]
    state = Fsrs(card_id=int(hashlib.sha256(card_id.encode()).hexdigest()[:12], 16), due=_when(now)).to_dict()
    with learner.store.open() as db:
        db.execute(
            "insert or ignore into cards values (?, ?, ?, ?, ?, ?, ?)",
            (learner.name, card_id, front, back, note, json.dumps(state), now),
        )
    return card_id


def remove(learner: Learner, card_id: str) -> None:
    """Deletes a card; its reviews stay counted."""
    with learner.store.open() as db:
        db.execute("delete from cards where learner = ? and id = ?", (learner.name, card_id))


def all_cards(learner: Learner) -> list[Card]:
    """All cards, the one due first at the head."""
    with learner.store.open() as db:
        rows = db.execute(
            "select id, front, back, note, state, due from cards where learner = ? order by due, id", (learner.name,)
        ).fetchall()
    return [Card(i, front, back, note, json.loads(state), due) for i, front, back, note, state, due in rows]


def due(learner: Learner, now: float) -> list[Card]:
    """The cards to review now."""
    return [card for card in all_cards(learner) if card.due <= now]


def review(learner: Learner, card_id: str, rating: str, now: float) -> Card:
    """The card after a review. AgentError for a card or rating there is none of."""
    from fsrs import Card as Fsrs
    from fsrs import Rating

    card = next((c for c in all_cards(learner) if c.id == card_id), None)
    if card is None or rating not in RATINGS:
        raise AgentError(f"no card {card_id!r}" if card is None else f"a rating is one of {', '.join(RATINGS)}")
    number = RATINGS.index(rating) + 1
    after, _ = scheduler().review_card(Fsrs.from_dict(card.state), Rating(number), _when(now))  # type: ignore[arg-type]
    with learner.store.open() as db:
        db.execute(
            "update cards set state = ?, due = ? where learner = ? and id = ?",
            (json.dumps(after.to_dict()), after.due.timestamp(), learner.name, card_id),
        )
        db.execute("insert into reviews values (?, ?, ?, ?)", (learner.name, card_id, number, now))
    return Card(card.id, card.front, card.back, card.note, dict(after.to_dict()), after.due.timestamp())


def intervals(card: Card, now: float) -> dict[str, float]:
    """For each rating, in how many seconds the card would be due again."""
    from fsrs import Card as Fsrs
    from fsrs import Rating

    found = {}
    for number, rating in enumerate(RATINGS, 1):
        after, _ = scheduler().review_card(Fsrs.from_dict(card.state), Rating(number), _when(now))  # type: ignore[arg-type]
        found[rating] = after.due.timestamp() - now
    return found


def forecast(learner: Learner, now: float, days: int = 14) -> list[int]:
    """How many cards come due on each day from today on; what is overdue counts today."""
    today = _day(now)
    count = Counter(max(0, _day(card.due) - today) for card in all_cards(learner))
    return [count[day] for day in range(days)]


def reviewed(learner: Learner) -> list[float]:
    """When each review was, oldest first."""
    with learner.store.open() as db:
        rows = db.execute("select at from reviews where learner = ? order by at", (learner.name,)).fetchall()
    return [row[0] for row in rows]


def scheduler() -> Scheduler:
    """FSRS with its published weights, without the random spread, so that a history gives one schedule."""
    from fsrs import Scheduler

    return Scheduler(enable_fuzzing=False)


def _day(at: float) -> int:
    """A local day's number."""
    return datetime.fromtimestamp(at).astimezone().date().toordinal()


def _when(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
