"""What to do next: commands that need no model, else one schema-constrained model call that can only name tools there are."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents import toolbox
from agents.tools.gpu_memory import SHAPES
from agents.tools.quiz import chosen_letters
from core.types import Message

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

PROMPTS = Path(__file__).parent / "prompts"
MAX_TOKENS = 200
_MAX_STRING = 300
HELLO = "Hello! Ask me about any subject of NCA-GENL, say “quiz me”, or ask for a study plan."

_GREETING = re.compile(
    r"\W*(?:(?:hi|hello|hey|good (?:morning|afternoon|evening)|thanks?|thank you|thx|ok(?:ay)?|great|cool|bye|goodbye|got it|"
    r"so much|a lot|very much|there|tutor|again|and|that helped|perfect|nice)\W*)+", re.IGNORECASE
)  # fmt: skip
_QUIZ = re.compile(
    r"\b(?:quiz|test|drill) me\b|\b(?:give|ask|try) me\b[^.?!]{0,25}\b(?:practice|quiz|exam-style|mock|sample|test)? ?question\b|"
    r"\b(?:another|next|one more) (?:practice |quiz )?question\b|\bpractice question\b", re.IGNORECASE
)  # fmt: skip
_TOPIC = re.compile(
    r"\b(?:on|about|regarding|covering|for|from|in)\s+(.{2,80}?)(?:[.?!,;]|\bplease\b|$)", re.IGNORECASE
)
_PROGRESS = re.compile(
    r"\b(?:my|how am i|how'?s my|show)\b[^.?!]{0,25}\b(?:progress|results|score|scores|stats|doing so far)\b|\bhow am i doing\b", re.IGNORECASE
)  # fmt: skip
_PLAN = re.compile(
    r"\b(?:study|revision|learning) (?:plan|schedule|week)\b|\bplan (?:my|a|the) (?:study|week|revision|days)\b",
    re.IGNORECASE,
)
_ASKS = re.compile(r"(?:what|why|how|when|where|which|who|does|do|is|are|can|explain|define|describe)\b", re.IGNORECASE)
# Numbers, comparisons, several parts, the learner themself, a tool's business.
_NEEDS_MORE = re.compile(
    r"\d|\b(?:compared?|comparing|comparison|versus|vs|differences?|differ|both|either|then|also|i|me|my|mine|we|our|you|your|"
    r"open|show|run|python|calculate|compute|plan|quiz|progress|earlier|before|said|told)\b", re.IGNORECASE
)  # fmt: skip
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
_NUMBER = re.compile(r"(?<![A-Za-z_])\d[\d,]*(?:\.\d+)?(?:[eE][+-]?\d+)?")
_CONSTANTS = {0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 8.0, 12.0, 16.0, 24.0, 32.0, 60.0, 100.0, 365.0, 1000.0, 1024.0, 3600.0, 1e6, 1e9, 1e12}  # fmt: skip
_DAYS = re.compile(r"\b(\d{1,2}|one|two|three|four|five|six|seven|ten)[ -]*(day|week)s?\b", re.IGNORECASE)
_WORDS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "ten": 10}


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


def command(message: str, open_question: bool) -> Call | str | None:
    """A call that a message asks for in so many words, a reply to a greeting, or None where a model must decide."""
    text = message.strip()
    if open_question and len(text) <= 60 and not text.endswith("?") and chosen_letters(text, 5):
        return Call("grade_answer", {"letters": text})
    if len(text) <= 80 and _GREETING.fullmatch(text):
        return HELLO
    if quiz := _QUIZ.search(text):
        topic = _TOPIC.search(text[quiz.end() :])
        return Call("make_quiz", {"topic": topic[1].strip() if topic else ""})
    memory = _memory(text)
    if memory is not None:
        return memory
    if _PLAN.search(text):
        return Call("study_plan", {"days": _days(text)})
    if _PROGRESS.search(text):
        return Call("show_progress")
    return None


def _memory(text: str) -> Call | None:
    """Whether and how a model fits a GPU: a model or its size, its use, and memory asked for."""
    low = text.lower().replace(" ", "-")
    model = next((name for name in SHAPES if name in low), "")
    size = _SIZE.search(text)
    purpose = next((name for name, words in _PURPOSES.items() if words.search(text)), "")
    if not (model or size) or not purpose or not _GPU.search(text) or text.count("?") > 1:
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


def groundless(call: Call, said: str) -> str:
    """The first number of a sum that the learner never gave and that is no usual constant; empty where there is none."""
    if call.tool != "calculate":
        return ""
    given = {float(n.replace(",", "")) for n in _NUMBER.findall(said)}
    found: str
    for found in _NUMBER.findall(str(call.arguments.get("expression", ""))):
        value = float(found.replace(",", ""))
        scaled = any(abs(value - g * s) <= 1e-9 * abs(value) for g in given for s in (1, 0.01, 1e3, 1e6, 1e9, 1e12))
        if value not in _CONSTANTS and not scaled:
            return found
    return ""


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
    return {
        "type": "object",
        "properties": {"steps": {"type": "array", "minItems": 1, "maxItems": most, "items": {"anyOf": calls}}},
        "required": ["steps"],
        "additionalProperties": False,
    }


def parse(text: str, tools: Mapping[str, BaseTool], most: int) -> list[Call]:
    """The steps of a reply; none where it is no such object, which a server that ignores schemas may well send."""
    try:
        steps = json_object(text)["steps"]
        calls = [Call(step["tool"], {k: v for k, v in step.items() if k != "tool"}) for step in steps]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
    known = [call for call in calls if call.tool in tools]
    return list({call.key(): call for call in known}.values())[:most]


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
