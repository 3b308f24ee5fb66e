"""A practice question asked, from the bank or written for the purpose, and the reply to it graded."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from agents.bank import OPTION_LETTERS, Bank, Question
from agents.errors import ToolError
from agents.learners import Learner
from agents.study import practice
from agents.tools.finding import Finding
from rag.retriever import Retriever

_PLACE = re.compile(
    r"\W*(?:(?:i think|i'd say|i would say|it'?s|maybe|probably)\W+)*(?:the )?(first|second|third|fourth|fifth)"
    r"(?: (?:one|option|answer))?\W*",
    re.IGNORECASE,
)
_ANY = {"", "any", "anything", "random", "nca-genl", "the exam", "exam", "general", "all"}


def make_quiz(
    bank: Bank,
    retriever: Retriever,
    learner: Learner,
    topic: str,
    write: Callable[[str, str], Question | None] | None = None,
) -> Finding:
    """One question: on the topic if one is named, missed ones first, then those never asked.

    Where all on the topic are answered right, or there is none, `write` is to make one from the document nearest to it.
    ToolError where there is none to ask.
    """
    last = {m.question_id: m for m in learner.marks()}
    topic, told = topic.strip(), ""
    found = [] if topic.casefold() in _ANY else retriever.search(topic, k=8, by="document").hits
    about = [[q for q in bank.questions.values() if q.source.doc_id == hit.chunk.doc_id] for hit in found]
    if found and write is not None and all(q.id in last and last[q.id].correct for q in about[0]):
        written = write(topic, found[0].chunk.doc_id)
        if written is not None:
            return Finding(shown(written), final=True, question=written)
        told = "" if about[0] else f"I have no question on “{topic}” that stands its checks; here is another one.\n\n"
    mine = next(filter(None, about), list(bank.questions.values()))  # the best note that has questions
    if not mine:
        raise ToolError("the bank of practice questions is empty")

    def due(question: Question) -> tuple[int, float]:
        mark = last.get(question.id)
        if mark is None:
            return (1, 0.0)
        return (2, mark.at) if mark.correct else (0, mark.at)

    chosen = min(mine, key=lambda q: (*due(q), q.id))
    return Finding(told + shown(chosen), final=True, question=chosen)


def grade_answer(learner: Learner, question: Question | None, letters: str) -> Finding:
    """Whether the letters are right, why, and where the notes say so; the learner's mark is kept."""
    if question is None:
        raise ToolError("no practice question is open. Ask one first: make_quiz")
    given = chosen_letters(letters, len(question.options))
    if not given:
        raise ToolError(f"reply with a letter, {OPTION_LETTERS[0]} to {OPTION_LETTERS[len(question.options) - 1]}")
    right = practice.grade(learner, question, given, time.time())
    lines = [
        f"{'Right' if right else 'Not quite'}: the answer is {question.letters}. {question.explanation}",
        *(
            f"{OPTION_LETTERS[i]} is wrong: {why}"
            for i, why in zip(question.wrong, question.why_not, strict=False)
            if i in given
        ),
        f"The notes say: “{question.source.quote}” ({question.source.doc_id})",
    ]
    return Finding("\n\n".join(lines), final=True)


def shown(question: Question) -> str:
    """The question with lettered options."""
    options = "\n".join(f"{letter}) {option}" for letter, option in zip(OPTION_LETTERS, question.options, strict=False))
    ask = "two letters" if len(question.correct) == 2 else "a letter"
    return f"{question.question}\n\n{options}\n\nReply with {ask}."


def chosen_letters(text: str, options: int) -> set[int]:
    """The options a reply names: "B", "b)", "A and D", "I think it's C"; empty where it names none."""
    letters = OPTION_LETTERS[:options]
    if place := _PLACE.fullmatch(text.strip()):
        at = ["first", "second", "third", "fourth", "fifth"].index(place[1].lower())
        return {at} if at < options else set()
    alone = re.findall(rf"(?<![A-Za-z'’])([{letters[0]}-{letters[-1]}])(?![A-Za-z'’])", text)
    found = {
        letters.index(letter)
        for letter in alone
        if not (letter == "A" and re.search(r"\bA (?!and\b|or\b|is\b)[a-z]+", text))
    }
    if not found and re.fullmatch(
        rf"\W*(?:[a-{letters[-1].lower()}]\W*(?:and|,|&|\s)?\W*){{1,2}}", text.strip(), re.IGNORECASE
    ):
        found = {letters.index(c.upper()) for c in re.findall(rf"\b[a-{letters[-1].lower()}]\b", text, re.IGNORECASE)}
    return found
