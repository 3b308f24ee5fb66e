"""The text of a file that someone else's program may have written."""

from __future__ import annotations

from pathlib import Path

from agents.errors import AgentError


def text(path: Path) -> str:
    """The file as it is, line endings and all, less a byte-order mark. AgentError where it is not there or not UTF-8."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise AgentError(f"{path}: no such file") from None
    except OSError as error:
        raise AgentError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise AgentError(f"{path}:{line}: not UTF-8 text. Save it as UTF-8 (Excel: “CSV UTF-8”)") from None
