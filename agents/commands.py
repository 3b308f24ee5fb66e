"""What a message asks for by its words and its intent, where that takes no model. Pure functions."""

from __future__ import annotations

import re
from typing import Any

from agents.decide import Call
from agents.numbers import WORDS
from agents.parts import split
from agents.tools.gpu_memory import SHAPES
from agents.tools.quiz import chosen_letters
from core import exam

_LONGEST_TOLD = 300
WELCOME = "You are welcome! What shall we look at next?"
NOTED = "Noted, I will keep that in mind. Ask me about any subject of NCA-GENL, or say “quiz me”."
HELLO = "Hello! Ask me about any subject of NCA-GENL, say “quiz me”, or ask for a study plan."

_THANKS = re.compile(r"\b(?:thanks?|thank you|thx|cheers|helped|perfect|great)\b", re.IGNORECASE)
_TOPIC = re.compile(
    r"\b(?:on|about|regarding|covering|with|of|from|in)\s+(?!me\b|my\b|the exam\b|mind\b)(.{2,80}?)(?:[.?!,;:]|\bplease\b|\bpls\b|$)",
    re.IGNORECASE,
)
_QUIZ_WORDS = re.compile(
    r"(?:a|an|the|me|my|i|you|us|we|it|to|for|and|then|of|on|so|if|do|did|let|lets|let's|can|could|would|will|want|like|please|pls|"
    r"plz|just|now|again|one|two|three|four|five|ten|some|few|quick|quickly|give|gimme|ask|try|test|tested|quiz+|drill|check|"
    r"examine|hit|pick|draw|write|make|get|have|practi[sc]e|practi[sc]ing|practi[sc]al|questions?|question's|mcq|mcqs|quizzes|"
    r"exam|exam-style|mock|sample|style|flashcard|flashcard-style|multiple|choice|options?|easy|hard|harder|tricky|tough|medium|"
    r"difficult|difficulty|another|next|more|new|different|any|anything|random|topic|subject|other|time|at|know|knowledge|what|"
    r"whether|see|how|i'd|i'm|i've|ready|ok|okay|sure|yes|hi|hello|hey|tutor|be|is|with|from|about|up)",
    re.IGNORECASE,
)
_BACK = re.compile(
    r"\b(?:same|that|this|it|those|again|told|said|mentioned|(?:always|keep|kept) \w+|my weak\w*|weakest|what i|where i|"
    r"i (?:always|keep|mix|confuse|struggle|get))\b",
    re.IGNORECASE,
)
_ASKS = re.compile(r"(?:what|why|how|when|where|which|who|does|do|is|are|can|explain|define|describe)\b", re.IGNORECASE)
# Numbers, comparisons, several parts, the learner themself, a tool's business.
_NEEDS_MORE = re.compile(
    r"\d|\b(?:compared?|comparing|comparison|versus|vs|differences?|differ|both|either|then|also|i|me|my|mine|we|our|you|your|"
    r"open|show|run|python|calculate|compute|plan|quiz|progress|earlier|before|said|told)\b", re.IGNORECASE
)  # fmt: skip
# The exam itself, as against its subjects, the learner's date and their results.
_EXAM = re.compile(
    r"\b(?:nca-?genl|(?:the|this|that|nvidia'?s?) (?:\w+ )?(?:exam|certification|certificate|test))\b", re.IGNORECASE
)
_OF_THE_LEARNER = re.compile(r"\b(?:did|have|am|do|was) i\b|\bmy (?:results?|score|weak\w*|mark)\b", re.IGNORECASE)
_OF_THE_EXAM = re.compile(
    r"\bdomains?\b|\bweigh(?:t|ts|ted|ing|s)?\b|\b(?:pass(?:ing)?|cut-?off) (?:mark|score|grade)\b|\bhow (?:long|many (?:questions|minutes))\b|"
    r"\b(?:cost|price|fee|register|valid|expire|proctored?|multiple[- ]choice|format|structure)\b",
    re.IGNORECASE,
)
_SIZE = re.compile(r"\b(\d+(?:\.\d+)?)[ -]?(?:B|billion)\b")
_GPU = re.compile(r"\b(?:fits?|v?ram|gpu|memory|how (?:much|many|big|large))\b", re.IGNORECASE)
_PURPOSES = {
    "qlora": re.compile(r"\bqlora\b", re.IGNORECASE),
    "lora": re.compile(r"\blora\b", re.IGNORECASE),
    "full": re.compile(r"\bfull(?:y)?[ -](?:fine|parameter)", re.IGNORECASE),
    "inference": re.compile(r"\b(?:serv(?:e|ing)|inference|kv[ -]cache)\b", re.IGNORECASE),
}
_BITS = re.compile(r"\b(4|8|16|32)[ -]?bits?\b|\b(?:int|fp|bf)(4|8|16|32)\b", re.IGNORECASE)
_CONTEXT = re.compile(r"\b(\d[\d,]*)\s?(k)?[ -]tokens?\b", re.IGNORECASE)
_DAYS = re.compile(r"\b(\d{1,2}|one|two|three|four|five|six|seven|ten)[ -]*(day|week)s?\b", re.IGNORECASE)


def plain_question(message: str) -> bool:
    """Whether a message is one question about one subject, which takes one search whatever a model would say."""
    text = message.strip()
    asks = text.endswith("?") or _ASKS.match(text) is not None
    return asks and len(text) <= 200 and text.count("?") <= 1 and _NEEDS_MORE.search(text) is None


def command(message: str, open_question: bool, intent: str) -> Call | str | None:
    """A call that a message asks for by its words or its intent, a reply to a greeting, or None where that is not settled yet."""
    text = message.strip()
    letter = len(text) <= 60 and (not text.endswith("?") or len(text) <= 3) and chosen_letters(text, 5)
    if open_question and letter:
        return Call("grade_answer", {"letters": text})
    if intent == "smalltalk" and len(text) <= 80 and "?" not in text:
        return WELCOME if _THANKS.search(text) else HELLO
    memory = None if intent == "calculation" else _memory(text)
    if memory is not None:
        return memory
    if intent in ("", "question") and _about_the_exam(text):
        return exam.outline()
    if intent == "plan":
        return Call("study_plan", {"days": _days(text)})
    if intent == "progress":
        return Call("show_progress")
    return None


def _about_the_exam(text: str) -> bool:
    """Whether a message asks for the exam's own length, domains or terms."""
    asks = "?" in text and len(text) <= 200 and _EXAM.search(text) and _OF_THE_EXAM.search(text)
    return bool(asks) and not _OF_THE_LEARNER.search(text)


def tells(message: str, intent: str) -> bool:
    """Whether a message only tells something about the learner."""
    return intent == "tell" and "?" not in message and len(message) <= _LONGEST_TOLD


def quiz_topic(message: str) -> str:
    """The subject that a request for a practice question names; empty for any."""
    named = _TOPIC.search(message)
    if named:
        return named[1].strip()
    return " ".join(word for word in re.findall(r"[\w/+.-]+", message) if not _QUIZ_WORDS.fullmatch(word)).strip(". ")


def points_back(message: str) -> bool:
    """Whether a request for a question names its subject by something said before."""
    return _BACK.search(message) is not None


def _memory(text: str) -> Call | None:
    """Whether and how a model fits a GPU: a model or its size, its use, and memory asked for."""
    low = text.lower().replace(" ", "-")
    model = next((name for name in SHAPES if name in low), "")
    size = _SIZE.search(text)
    purpose = next((name for name, words in _PURPOSES.items() if words.search(text)), "")
    if not (model or size) or not purpose or not _GPU.search(text) or len(split(text, 2)) > 1:
        return None
    arguments: dict[str, Any] = {"purpose": purpose}
    if model:
        arguments["model"] = model
    elif size:
        arguments["billions"] = float(size[1])
    if bits := _BITS.search(text):
        arguments["bits"] = int(bits[1] or bits[2])
    if context := _CONTEXT.search(text):
        arguments["context"] = int(context[1].replace(",", "")) * (1024 if context[2] else 1)
    return Call("gpu_memory", arguments)


def _days(text: str) -> int:
    found = _DAYS.search(text)
    if not found:
        return 7
    number = WORDS.get(found[1].lower()) or int(found[1])
    return min(60, max(1, number * (7 if found[2].lower() == "week" else 1)))
