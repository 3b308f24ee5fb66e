"""What to do next, where that takes a model: one schema-constrained call that can only name tools there are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agents import toolbox
from agents.forms import instructions, json_object, object_schema
from core.types import Message

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

MAX_TOKENS = 200
_MAX_STRING = 300


@dataclass(frozen=True, slots=True)
class Call:
    """A tool to run, and with what."""

    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def key(self) -> str:
        """Equal for equal calls."""
        return f"{self.tool} {json.dumps(dict(self.arguments), sort_keys=True, ensure_ascii=False).casefold()}"


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


def _line(tool: BaseTool) -> str:
    arguments = ", ".join(
        f"{name}: {'|'.join(map(str, value['enum']))}" if "enum" in value else name
        for name, value in toolbox.schema(tool).items()
    )
    return f"- {tool.name}({arguments}): {' '.join((tool.description or '').split())[:200]}"
