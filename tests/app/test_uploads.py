"""Uploads: named by us, checked before they are kept, gone when forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import conversations, uploads
from app.conversations import Turn
from core.errors import DocumentError


@given(st.text(max_size=60))
def test_a_name_never_leaves_its_folder(name: str) -> None:
    safe = uploads.safe_name(name + ".md")
    assert "/" not in safe and "\\" not in safe and not safe.startswith(".")
    assert (Path("/base") / safe).resolve().parent == Path("/base")


def test_store_list_forget(tmp_path: Path) -> None:
    source = tmp_path / "in.md"
    source.write_text("# Mine\n\nA private note.\n")
    stored = uploads.store(source, "../../etc/my notes<b>.md", tmp_path / "up", 1)
    assert stored.parent == tmp_path / "up" / "uploads"
    assert uploads.names(tmp_path / "up") == [stored.name]
    with pytest.raises(DocumentError, match="there already"):
        uploads.store(source, "my notes<b>.md", tmp_path / "up", 1)
    uploads.forget(tmp_path / "up", stored.name)
    assert uploads.names(tmp_path / "up") == []
    with pytest.raises(DocumentError, match="no such document"):
        uploads.forget(tmp_path / "up", "../in.md")
    assert source.exists()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.exe", b"MZ", "cannot read .exe"),
        ("x.pdf", b"no pdf", "not a readable pdf"),
        ("x.txt", b"a" * (2**20 + 1), "at most 1 MiB"),
    ],
)
def test_a_bad_upload_is_refused_and_leaves_nothing(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / "in").write_bytes(content)
    with pytest.raises(DocumentError, match=says):
        uploads.store(tmp_path / "in", name, tmp_path / "up", 1)
    assert not [p for p in (tmp_path / "up").rglob("*") if p.is_file()]


def test_conversations_survive_and_foreign_ids_open_nothing(tmp_path: Path) -> None:
    key = conversations.new_id()
    conversations.save(tmp_path / "c", key, [Turn("q", "a", "<p>a</p>")])
    assert conversations.load(tmp_path / "c", key) == [Turn("q", "a", "<p>a</p>")]
    (tmp_path / "secret.json").write_text('[{"question": "s", "answer": "s", "html": "s"}]')
    assert conversations.load(tmp_path / "c", "../secret") == []
    conversations.save(tmp_path / "c", key, [])
    assert list((tmp_path / "c").iterdir()) == []
