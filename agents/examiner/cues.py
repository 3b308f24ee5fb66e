"""What gives a key away to someone who has not studied: length, hedging words, grammar, repeated words. Pure functions.

The list follows Haladyna, Downing & Rodriguez, "A Review of Multiple-Choice Item-Writing Guidelines" (2002).
"""

from __future__ import annotations

import re

from agents.bank import Question

_HEDGES = re.compile(
    r"\b(?:usually|often|typically|generally|may|might|sometimes|mainly|mostly|can|tends?)\b", re.IGNORECASE
)
_ABSOLUTES = re.compile(
    r"\b(?:always|never|only|all|none|every|completely|entirely|guarantees?|guaranteed|must)\b", re.IGNORECASE
)
_CATCH_ALL = re.compile(
    r"\b(?:all|none|both|neither|either) of (?:the )?(?:above|these|options)\b|\b[A-E] and [A-E]\b", re.IGNORECASE
)
_LEANS = re.compile(
    r"\b(?:the|this) (?:passage|text|note|notes|source|excerpt|paragraph)\b|\baccording to\b|\bas (?:mentioned|described|stated)\b|\babove\b",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"\b(?:model|team|system|variant|user|document|group|arm|run|version|server)s? [A-Z]\b", re.IGNORECASE
)
_TOLD = 15  # words from which a stem can have said what its “model A” is
_ARTICLE = re.compile(r"\b(an?)\s*[:_.…]*\s*$", re.IGNORECASE)
_WORDS = re.compile(r"[^\W\d_]{4,}")
TEXT = 13  # characters from which a length is seen at all; numbers are shorter
_MUCH_LONGER = 1.4  # a key so many times as long as its longest rival
_EVEN = 2.2  # longest by shortest option


def cues(question: Question) -> list[str]:
    """The names of the cues found in one question; none is what one wants."""
    keys = [question.options[i] for i in question.correct]
    rivals = [question.options[i] for i in question.wrong]
    found = []
    lengths = [len(o) for o in question.options]
    uneven = max(lengths) > _EVEN * max(TEXT, min(lengths))
    if max(lengths) >= TEXT and (uneven or min(map(len, keys)) > _MUCH_LONGER * max(map(len, rivals))):
        found.append("length")
    if all(map(_HEDGES.search, keys)) and not any(map(_HEDGES.search, rivals)):
        found.append("hedging in the key alone")
    if all(map(_ABSOLUTES.search, rivals)) and not any(map(_ABSOLUTES.search, keys)):
        found.append("absolutes in every distractor")
    if any(map(_CATCH_ALL.search, question.options)):
        found.append("catch-all option")
    if len({" ".join(o.casefold().split()) for o in question.options}) < len(question.options):
        found.append("options alike")
    if _ungrammatical(question):
        found.append("grammar")
    if _repeats(question.question, keys, rivals):
        found.append("stem's words in the key alone")
    if _LEANS.search(question.question) or (
        _LABEL.search(question.question) and len(question.question.split()) < _TOLD
    ):
        found.append("stem leans on a text")
    if len(question.correct) == 2 and not re.search(r"\btwo\b", question.question, re.IGNORECASE):
        found.append("does not say two")
    return found


def key_is_longest(question: Question) -> float:
    """1 where the key of a single-answer question is the longest option, its share of a tie, else 0."""
    lengths = [len(o) for o in question.options]
    longest = [i for i, n in enumerate(lengths) if n == max(lengths)]
    return 1 / len(longest) if question.correct[0] in longest else 0.0


def _ungrammatical(question: Question) -> bool:
    """A stem that ends in an article which fits the key and not all distractors."""
    article = _ARTICLE.search(question.question)
    if not article:
        return False
    vowel = article[1].casefold() == "an"
    fits = [o.strip()[:1].casefold() in "aeiou" if o.strip() else False for o in question.options]
    return len({f == vowel for f in fits}) > 1


def _repeats(stem: str, keys: list[str], rivals: list[str]) -> bool:
    """Whether the key takes up two of the stem's longer words or has no others, and no distractor takes any."""
    asked = _longer(stem)
    told = all(len(asked & _longer(key)) >= 2 or (_longer(key) and _longer(key) <= asked) for key in keys)
    return told and not any(asked & _longer(rival) for rival in rivals)


def _longer(text: str) -> set[str]:
    return {word.casefold() for word in _WORDS.findall(text)}
