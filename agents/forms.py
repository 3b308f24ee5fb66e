"""Prompts, and the forms that a model is bound to fill: JSON objects by a schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROMPTS = Path(__file__).parent / "prompts"


def instructions(name: str) -> str:
    """One of the prompts in prompts/."""
    return (PROMPTS / f"{name}.md").read_text(encoding="utf-8").strip()


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
