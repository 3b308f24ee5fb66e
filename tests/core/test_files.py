"""A file or folder is there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from core import files


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.json"
    files.write(path, "one")
    files.write(path, "two")
    assert path.read_text() == "two" and list(path.parent.iterdir()) == [path]


def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write(path, "one")
    with pytest.raises(KeyboardInterrupt), files.replacing(path) as draft:
        draft.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "one" and list(tmp_path.iterdir()) == [path]


def test_a_folder_is_there_whole_and_never_over_another(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    for _ in range(2):
        try:
            with files.replacing(path) as draft:
                draft.mkdir()
                (draft / "x").write_text("x")
        except OSError:
            assert path.exists()
    assert [p.name for p in tmp_path.rglob("*")] == ["folder", "x"]
    with pytest.raises(ValueError), files.replacing(tmp_path / "other") as draft:
        draft.mkdir()
        raise ValueError
    assert not (tmp_path / "other").exists() and [p.name for p in tmp_path.iterdir()] == ["folder"]
