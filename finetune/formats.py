"""Training rows of the usual forms as conversations: OpenAI messages, ShareGPT, Alpaca, prompt/completion.

The form is seen from a row's keys. Every complaint names the file and the line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from core.errors import DatasetError
from core.types import Message

Form = Literal["messages", "sharegpt", "alpaca", "prompt-completion"]
_SHAREGPT_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


@dataclass(frozen=True, slots=True)
class Conversation:
    """One training row. `where` is `file:line`; `extra` holds the row's other keys (kind, note, answer, …)."""

    messages: tuple[Message, ...]
    where: str
    extra: Mapping[str, Any] = field(default_factory=dict)


def read_conversations(path: Path) -> list[Conversation]:
    """All rows of a .jsonl, .json (a list) or .parquet file. DatasetError with the line for the first bad one."""
    found = [conversation(row, where) for where, row in _rows(path)]
    if not found:
        raise DatasetError(f"{path}: no rows in it")
    return found


def conversation(row: Any, where: str) -> Conversation:
    """One row of any known form, checked: turns alternate, the last is the assistant's, none is empty."""
    if not isinstance(row, dict):
        raise DatasetError(f"{where}: a row must be an object, found {type(row).__name__}")
    form = _form(row, where)
    messages, used = _READERS[form](row, where)
    _check(messages, where)
    return Conversation(tuple(messages), where, {k: v for k, v in row.items() if k not in used})


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    if path.suffix == ".parquet":
        yield from _parquet(path)
        return
    if path.suffix not in (".jsonl", ".json"):
        raise DatasetError(f"{path}: unknown kind of file. Training data is .jsonl, .json or .parquet")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read ({error})") from None
    if path.suffix == ".json":
        try:
            rows = json.loads(text)
        except json.JSONDecodeError as error:
            raise DatasetError(f"{path}:{error.lineno}: not valid JSON ({error.msg})") from None
        if not isinstance(rows, list):
            raise DatasetError(f"{path}: a .json file must hold a list of rows. One row a line? Name it .jsonl")
        yield from ((f"{path}, row {number}", row) for number, row in enumerate(rows, 1))
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield f"{path}:{number}", json.loads(line)
            except json.JSONDecodeError as error:
                raise DatasetError(f"{path}:{number}: not valid JSON ({error.msg})") from None


def _parquet(path: Path) -> Iterator[tuple[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file") from None
    except (OSError, pyarrow.ArrowException) as error:
        raise DatasetError(f"{path}: not a readable Parquet file ({error})") from None
    for number, row in enumerate(table.to_pylist(), 1):
        yield f"{path}, row {number}", {k: v for k, v in row.items() if v is not None}


def _form(row: dict[str, Any], where: str) -> Form:
    if "messages" in row:
        return "messages"
    if "conversations" in row:
        return "sharegpt"
    if "instruction" in row:
        return "alpaca"
    if "prompt" in row and "completion" in row:
        return "prompt-completion"
    raise DatasetError(
        f"{where}: unknown form (keys: {', '.join(map(str, row)) or 'none'}). Known: messages (OpenAI), conversations "
        "(ShareGPT), instruction/input/output (Alpaca), prompt/completion"
    )


def _messages(row: dict[str, Any], where: str, key: str = "messages") -> tuple[list[Message], set[str]]:
    return [_message(item, where) for item in _list(row[key], key, where)], {key}


def _sharegpt(row: dict[str, Any], where: str) -> tuple[list[Message], set[str]]:
    messages = []
    for turn in _list(row["conversations"], "conversations", where):
        if isinstance(turn, dict) and "role" in turn:
            messages.append(_message(turn, where))
            continue
        if not isinstance(turn, dict) or not isinstance(turn.get("value"), str):
            raise DatasetError(f"{where}: each ShareGPT turn needs `from` and a text `value`")
        role = _SHAREGPT_ROLES.get(str(turn.get("from")))
        if role is None:
            raise DatasetError(f"{where}: unknown ShareGPT speaker {turn.get('from')!r}: human, gpt or system")
        messages.append(Message(role, turn["value"]))  # type: ignore[arg-type]
    if isinstance(row.get("system"), str) and row["system"].strip():
        messages.insert(0, Message("system", row["system"]))
    return messages, {"conversations", "system"}


def _alpaca(row: dict[str, Any], where: str) -> tuple[list[Message], set[str]]:
    for name in ("instruction", "output"):
        if not isinstance(row.get(name), str):
            raise DatasetError(f"{where}: an Alpaca row needs a text value for `{name}`")
    given = row.get("input") or ""
    if not isinstance(given, str):
        raise DatasetError(f"{where}: `input` must be a text")
    messages = []
    if isinstance(row.get("system"), str) and row["system"].strip():
        messages.append(Message("system", row["system"]))
    for pair in row.get("history") or []:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise DatasetError(f"{where}: `history` must be a list of [instruction, answer] pairs")
        messages += [Message("user", str(pair[0])), Message("assistant", str(pair[1]))]
    messages.append(Message("user", f"{row['instruction']}\n\n{given}".strip()))
    messages.append(Message("assistant", row["output"]))
    return messages, {"instruction", "input", "output", "system", "history"}


def _prompt_completion(row: dict[str, Any], where: str) -> tuple[list[Message], set[str]]:
    used = {"prompt", "completion"}
    if isinstance(row["prompt"], list) and isinstance(row["completion"], list):
        both = _list(row["prompt"], "prompt", where) + _list(row["completion"], "completion", where)
        return [_message(item, where) for item in both], used
    if not isinstance(row["prompt"], str) or not isinstance(row["completion"], str):
        raise DatasetError(f"{where}: `prompt` and `completion` must both be texts or both lists of messages")
    return [Message("user", row["prompt"]), Message("assistant", row["completion"])], used


_READERS = {
    "messages": _messages,
    "sharegpt": _sharegpt,
    "alpaca": _alpaca,
    "prompt-completion": _prompt_completion,
}


def _list(value: Any, key: str, where: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise DatasetError(f"{where}: `{key}` must be a non-empty list")
    return value


def _message(item: Any, where: str) -> Message:
    if not isinstance(item, dict) or not isinstance(item.get("content"), str):
        raise DatasetError(f"{where}: each message needs a `role` and a text `content`")
    if item.get("role") not in ("system", "user", "assistant"):
        raise DatasetError(f"{where}: unknown role {item.get('role')!r}: system, user or assistant")
    return Message(item["role"], item["content"])


def _check(messages: list[Message], where: str) -> None:
    turns = messages[1:] if messages and messages[0].role == "system" else messages
    if not turns or turns[0].role != "user":
        raise DatasetError(f"{where}: a conversation begins with a user's turn (after an optional system message)")
    for before, after in pairwise(turns):
        if after.role == "system":
            raise DatasetError(f"{where}: a system message may only come first")
        if before.role == after.role:
            raise DatasetError(f"{where}: two {after.role} turns in a row")
    if turns[-1].role != "assistant":
        raise DatasetError(f"{where}: the last turn must be the assistant's, there is nothing to train on otherwise")
    for number, message in enumerate(messages, 1):
        if not message.content.strip():
            raise DatasetError(f"{where}: message {number} ({message.role}) is empty")
