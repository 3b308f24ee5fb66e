"""Strict settings from YAML: unknown keys are refused with a did-you-mean; defaults live in the model only."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from core.errors import ConfigError


class Settings(BaseModel):
    """Base of every settings class: frozen, and closed to keys it does not know.

    `elsewhere` maps names that other programs use to ours, for the message about an unknown key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
    elsewhere: ClassVar[Mapping[str, str]] = {}


S = TypeVar("S", bound=Settings)


def load(model: type[S], path: Path | None = None, overrides: Sequence[str] = ()) -> S:
    """Settings from an optional YAML file, then `key=value` or `section.key=value` overrides (values are YAML).

    Raises ConfigError naming the key, the file and the nearest known key.
    """
    import yaml

    values: dict[str, Any] = {}
    if path is not None:
        try:
            read = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: cannot read the settings file ({error.strerror})") from error
        except yaml.YAMLError as error:
            raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
        if read is not None and not isinstance(read, dict):
            raise ConfigError(f"{path}: expected `key: value` lines, found {type(read).__name__}")
        values = read or {}
    for item in overrides:
        _set(values, item)
    return parse(model, values, where=str(path) if path else "command line")


def parse(model: type[S], values: Mapping[str, Any], where: str) -> S:
    """`values` as the settings class, or one ConfigError line that says what is wrong and where."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        problems = "; ".join(_explain(model, dict(item)) for item in error.errors())
        raise ConfigError(f"{where}: {problems}") from None


def nested(overrides: Sequence[str]) -> dict[str, Any]:
    """`section.key=value` overrides as nested dictionaries."""
    values: dict[str, Any] = {}
    for item in overrides:
        _set(values, item)
    return values


def _set(values: dict[str, Any], item: str) -> None:
    import yaml

    key, sep, raw = item.partition("=")
    if not sep or not key:
        raise ConfigError(f"{item!r}: overrides are written key=value, for example dense.batch_size=16")
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{item!r}: {parent} is not a section")
    values[last] = yaml.safe_load(raw)


def _explain(model: type[BaseModel], problem: dict[str, Any]) -> str:
    location = ".".join(str(part) for part in problem["loc"]) or "settings"
    if problem["type"] == "value_error" and isinstance(problem["input"], dict):  # about several keys: it names them
        said = problem["msg"].removeprefix("Value error, ")
        return f"{location}: {said}" if problem["loc"] else said
    if problem["type"] != "extra_forbidden":
        return f"{location}: {problem['msg']} (got {problem['input']!r})"
    ours = getattr(model, "elsewhere", {}).get(str(problem["loc"][-1]))
    if ours:
        return f"{location} is {ours} here"
    near = difflib.get_close_matches(str(problem["loc"][-1]), _keys(model, problem["loc"][:-1]), n=1)
    return f"unknown key {location}" + (f", did you mean {near[0]}?" if near else "")


def _keys(model: type[BaseModel], path: Sequence[Any]) -> list[str]:
    """Keys known in the section that `path` leads to; all of the top level's where the path leads elsewhere."""
    for part in path:
        field = model.model_fields.get(str(part))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            break
        model = field.annotation
    return list(model.model_fields)
