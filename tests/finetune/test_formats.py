"""Every usual form becomes the same conversation; every broken row is named by file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import DatasetError
from core.types import Message
from finetune.formats import conversation, read_conversations

TWO = (Message("user", "hi"), Message("assistant", "hello"))


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]},
        {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]},
        {"conversations": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]},
        {"instruction": "hi", "output": "hello"},
        {"instruction": "hi", "input": "", "output": "hello"},
        {"prompt": "hi", "completion": "hello"},
        {"prompt": [{"role": "user", "content": "hi"}], "completion": [{"role": "assistant", "content": "hello"}]},
    ],
)
def test_all_forms_agree(row: dict[str, Any]) -> None:
    found = conversation(row | {"note": "n"}, "x:1")
    assert found.messages == TWO and found.extra == {"note": "n"}


def test_alpaca_with_everything() -> None:
    row = {"system": "s", "history": [["a", "b"]], "instruction": "i", "input": "more", "output": "o"}
    assert [(m.role, m.content) for m in conversation(row, "x:1").messages] == [
        ("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "i\n\nmore"), ("assistant", "o"),
    ]  # fmt: skip


USER, REPLY = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"messages": [', "not valid JSON"),
        ("[1, 2]", "a row must be an object, found list"),
        ('{"text": "x"}', "unknown form (keys: text)"),
        (json.dumps({"messages": []}), "`messages` must be a non-empty list"),
        (json.dumps({"messages": [USER]}), "the last turn must be the assistant's"),
        (json.dumps({"messages": [USER, USER, REPLY]}), "two user turns in a row"),
        (json.dumps({"messages": [REPLY]}), "begins with a user's turn"),
        (json.dumps({"messages": [USER, {"role": "assistant", "content": " "}]}), "message 2 (assistant) is empty"),
        (json.dumps({"messages": [USER, {"role": "robot", "content": "x"}]}), "unknown role 'robot'"),
        (json.dumps({"messages": [USER, {"role": "assistant", "content": 5}]}), "a text `content`"),
        (json.dumps({"conversations": [{"from": "alien", "value": "x"}]}), "unknown ShareGPT speaker 'alien'"),
        (json.dumps({"instruction": "i", "output": None}), "a text value for `output`"),
        (json.dumps({"prompt": "a", "completion": ["b"]}), "both be texts or both lists"),
    ],
)
def test_a_broken_row_is_named_by_its_line(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps({"messages": [USER, REPLY]}) + "\n\n" + line + "\n")
    with pytest.raises(DatasetError) as error:
        read_conversations(path)
    assert str(error.value).startswith(f"{path}:3: ") and says in str(error.value)


def test_parquet_and_json_lists(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [{"messages": [USER, REPLY], "kind": "grounded"}, {"messages": [USER, REPLY], "kind": "refusal"}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "d.parquet")
    (tmp_path / "d.json").write_text(json.dumps(rows))
    for name in ("d.parquet", "d.json"):
        found = read_conversations(tmp_path / name)
        assert [c.messages for c in found] == [TWO, TWO] and [c.extra["kind"] for c in found] == ["grounded", "refusal"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("d.csv", "a,b", "unknown kind of file"),
        ("d.jsonl", "\n \n", "no rows in it"),
        ("d.json", "{}", "must hold a list"),
        ("d.parquet", "nonsense", "not a readable Parquet file"),
    ],
)
def test_a_file_of_the_wrong_kind(tmp_path: Path, name: str, content: str, says: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DatasetError, match=says):
        read_conversations(tmp_path / name)
    with pytest.raises(DatasetError, match="no such file"):
        read_conversations(tmp_path / "absent.jsonl")
