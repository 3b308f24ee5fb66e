"""Plain text as HTML and back: what Anki's fields and Moodle's [html] texts are made of. Pure functions."""

from __future__ import annotations

import html
import re

# U+001F parts Anki's fields, and [sound:…] or [latex] in them would be taken for more than text.
_NUMBERED = re.compile(r"[\x00-\x1f\[]")
_PIECE = re.compile(
    r"&#(?P<number>\d{1,2});|&#?\w+;|<(?P<tag>/?[a-zA-Z][a-zA-Z0-9]*)\b[^>]*>|<!--.*?-->|\s+", re.DOTALL
)
_STARTS_A_LINE = {"div", "p", "li", "tr", "pre", "h1", "h2", "h3", "h4"}


def to_html(text: str) -> str:
    """The text with nothing left in it that HTML would read as more than text; `from_html` gives it back."""
    lines = html.escape(text, quote=False).split("\n")
    return "<br>".join(_NUMBERED.sub(lambda found: f"&#{ord(found[0])};", line) for line in lines)


def from_html(marked: str) -> str:
    """The text without tags. Line breaks and blocks start lines; a text that `to_html` made comes back exactly."""
    laid_out = False

    def plain(found: re.Match[str]) -> str:
        nonlocal laid_out
        if found["number"]:
            return chr(int(found["number"]))
        if found[0].startswith("&"):
            return " " if found[0] == "&nbsp;" else html.unescape(found[0])
        if found["tag"] is None:
            return "" if found[0].startswith("<") else " " if "\n" in found[0] or "\r" in found[0] else found[0]
        if found["tag"].lower() == "br":
            return "\n"
        laid_out = True
        return "\n" if found["tag"].lower() in _STARTS_A_LINE else ""

    text = _PIECE.sub(plain, marked)
    return re.sub(r" *\n[ \n]*", "\n", text).strip() if laid_out else text
