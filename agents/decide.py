"""What to do next: commands that need no model, else one schema-constrained model call that can only name tools there are."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents import toolbox
from agents.parts import split
from agents.tools.gpu_memory import SHAPES
from agents.tools.quiz import chosen_letters
from core import exam
from core.types import Message

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

PROMPTS = Path(__file__).parent / "prompts"
MAX_TOKENS = 200
_MAX_STRING = 300
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
_NUMBER = re.compile(r"(?<![\w.])(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:[eE][+-]?\d+)?|(?<!\w)\.\d+")
_NO_DATA = {9.0, 10.0, 100.0, 1000.0, 1024.0, 1e6, 1e9, 1e12}  # of "10^9 bytes", "in 100", "1,024 bytes"
_SCALES = (1.0, 1e-3, 1e-2, 100.0, 1e3, 1e6, 1e9, 1e12)
_CONSTANTS = {0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 8.0, 12.0, 16.0, 24.0, 32.0, 60.0, 100.0, 365.0, 1000.0, 1024.0, 3600.0, 1e6, 1e9, 1e12}  # fmt: skip
_DAYS = re.compile(r"\b(\d{1,2}|one|two|three|four|five|six|seven|ten)[ -]*(day|week)s?\b", re.IGNORECASE)
_WORDS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}


@dataclass(frozen=True, slots=True)
class Call:
    """A tool to run, and with what."""

    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def key(self) -> str:
        """Equal for equal calls."""
        return f"{self.tool} {json.dumps(dict(self.arguments), sort_keys=True, ensure_ascii=False).casefold()}"


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
    return intent == "tell" and "?" not in message and len(message) <= _MAX_STRING


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


def groundless(expression: str, said: str) -> str:
    """The first number of a sum that the learner never gave and that is no usual constant; empty where there is none."""
    given = _given(said)
    for number in _NUMBER.findall(expression):
        value = _float(number)
        if value not in _CONSTANTS and not any(_same(value, g) for g in given):
            return str(number)
    return ""


def unused(expression: str, problem: str) -> list[str]:
    """The numbers of a problem that a sum leaves out, usual constants apart."""
    taken = [_float(n) for n in _NUMBER.findall(expression)]
    numbers = dict.fromkeys(_NUMBER.findall(problem))
    return [n for n in numbers if not any(_same(t, _float(n)) for t in taken) and _float(n) not in _NO_DATA]


def _given(said: str) -> set[float]:
    words = {float(n) for word, n in _WORDS.items() if re.search(rf"\b{word}\b", said, re.IGNORECASE)}
    return words | {_float(n) for n in _NUMBER.findall(said)}


def _float(number: str) -> float:
    return float(number.replace(",", ""))


def _same(value: float, given: float) -> bool:
    """Whether a value is a given one, in per cent or with a prefix (kilo, million …) perhaps."""
    return any(abs(value - given * scale) <= 1e-9 * abs(value) for scale in _SCALES)


def instructions(name: str) -> str:
    """One of the prompts in prompts/."""
    return (PROMPTS / f"{name}.md").read_text(encoding="utf-8").strip()


def prompt(question: str, tools: Mapping[str, BaseTool], most: int, trouble: Sequence[str] = ()) -> list[Message]:
    """Messages that ask for the next steps; `trouble` tells what earlier tries ran into."""
    system = instructions("decide")
    system = system.replace("{tools}", "\n".join(map(_line, tools.values()))).replace("{most}", str(most))
    told = "".join(f"\nThis did not work: {line}" for line in trouble)
    return [Message("system", system), Message("user", f"Learner: {question}{told}\nSteps:")]


def schema(tools: Mapping[str, BaseTool], most: int) -> dict[str, Any]:
    """Only tools there are, with their own arguments, at most so many steps."""
    calls = []
    for name, tool in tools.items():
        arguments = toolbox.schema(tool)
        for value in arguments.values():
            if value.get("type") == "string" and "enum" not in value:
                value["maxLength"] = _MAX_STRING
        required = toolbox.whole_schema(tool).get("required", [])
        calls.append({
            "type": "object",
            "properties": {"tool": {"const": name}, **arguments},
            "required": ["tool", *required],
            "additionalProperties": False,
        })  # fmt: skip
    return object_schema({"steps": {"type": "array", "minItems": 1, "maxItems": most, "items": {"anyOf": calls}}})


def parse(text: str, tools: Mapping[str, BaseTool], most: int) -> list[Call]:
    """The steps of a reply; none where it is no such object, which a server that ignores schemas may well send."""
    try:
        steps = json_object(text)["steps"]
        calls = [Call(step["tool"], {k: v for k, v in step.items() if k != "tool"}) for step in steps]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
    known = [call for call in calls if call.tool in tools]
    return list({call.key(): call for call in known}.values())[:most]


def object_schema(properties: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON schema of an object with just these properties, all of them needed."""
    return {
        "type": "object", "properties": dict(properties), "required": list(properties), "additionalProperties": False,
    }  # fmt: skip


def json_object(text: str) -> dict[str, Any]:
    """The JSON object of a reply; empty where it holds none."""
    try:
        found = json.loads(text[text.find("{") : text.rfind("}") + 1])
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _line(tool: BaseTool) -> str:
    arguments = ", ".join(
        f"{name}: {'|'.join(map(str, value['enum']))}" if "enum" in value else name
        for name, value in toolbox.schema(tool).items()
    )
    return f"- {tool.name}({arguments}): {' '.join((tool.description or '').split())[:200]}"


def _days(text: str) -> int:
    found = _DAYS.search(text)
    if not found:
        return 7
    number = _WORDS.get(found[1].lower()) or int(found[1])
    return min(60, max(1, number * (7 if found[2].lower() == "week" else 1)))
