"""Files and BEIR rows as documents: Markdown, text, PDF, Word, HTML, notebooks, `corpus.jsonl`.

Every format becomes one Markdown-flavoured text, since headings carry structure into chunks. Offsets in citations
count characters of that stored text.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from core import files
from core.errors import DocumentError
from core.types import Document

Loaded = tuple[str, str, Mapping[str, object]]  # title ("" when the format has none), text, metadata


def document(doc_id: str, title: str, text: str, metadata: Mapping[str, object] | None = None) -> Document:
    """A document with its text normalised (NFC, `\\n` line ends, no control characters) and its version computed."""
    text = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n")
    text = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", " ", text)
    # A lone surrogate (from broken JSON escapes) cannot be written as UTF-8 again.
    text = text.encode("utf-8", "replace").decode("utf-8")
    version = hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
    return Document(doc_id, version, title or _first_heading(text) or doc_id, text, dict(metadata or {}))


def load_sources(sources: Iterable[Path], skip_broken: Callable[[str], None] | None = None) -> list[Document]:
    """All documents under the given files and folders, in a stable order.

    Raises DocumentError for an unreadable file (unless `skip_broken` is given to take the message), for two documents
    with one id, and for a source without any document.
    """
    found: dict[str, Document] = {}
    origin: dict[str, Path] = {}
    for source in sources:
        if not source.exists():
            raise DocumentError(f"{source}: no such file or folder. Give --source an existing path")
        root = source if source.is_dir() else source.parent
        files = sorted(p for p in source.rglob("*") if _wanted(p, root)) if source.is_dir() else [source]
        for path in files:
            try:
                loaded = list(load_file(path, root))
            except DocumentError as error:
                if skip_broken is None:
                    raise
                skip_broken(str(error))
                continue
            for doc in loaded:
                if doc.doc_id in found:
                    raise DocumentError(
                        f"{path}: document id {doc.doc_id!r} is already taken by {origin[doc.doc_id]}. Rename one of them"
                    )
                found[doc.doc_id], origin[doc.doc_id] = doc, path
    return list(found.values())


def load_file(path: Path, root: Path) -> Iterator[Document]:
    """The documents of one file: one, or a row each for `.jsonl`. Ids are paths relative to `root`, with `/`."""
    loader = LOADERS.get(path.suffix.lower())
    if path.suffix.lower() == ".jsonl":
        yield from _beir(path)
        return
    if loader is None:
        raise DocumentError(
            f"{path}: cannot read {path.suffix or 'files without a suffix'}. Known: {', '.join(sorted(SUFFIXES))}"
        )
    try:
        title, text, metadata = loader(path)
    except DocumentError:
        raise
    except Exception as error:  # each library has its own errors for a damaged file
        raise DocumentError(
            f"{path}: not a readable {path.suffix[1:]} file ({' '.join(str(error).split())[:200]})"
        ) from error
    if not text.strip():
        raise DocumentError(f"{path}: no text in it. A scanned file needs OCR first")
    yield document(path.relative_to(root).as_posix(), title, text, metadata)


def _wanted(path: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return path.is_file() and path.suffix.lower() in SUFFIXES and not hidden


def _first_heading(text: str) -> str:
    match = re.search(r"^#{1,6}[ \t]+(.+?)[ \t#]*$", text, re.MULTILINE)
    return match.group(1).strip() if match else ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError(f"{path}: not UTF-8 text (byte {error.start}). Save it as UTF-8") from error


def _markdown(path: Path) -> Loaded:
    import yaml

    text = _read(path)
    match = re.match(r"---[ \t]*\n(.*?)\n---[ \t]*(?:\n|$)", text.replace("\r\n", "\n"), re.DOTALL)
    if not match:
        return "", text, {}
    try:
        front = yaml.safe_load(match.group(1)) or {}
    except yaml.YAMLError as error:
        raise DocumentError(f"{path}: front matter is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(front, dict):
        raise DocumentError(f"{path}: front matter must be `key: value` lines")
    body = text.replace("\r\n", "\n")[match.end() :].lstrip("\n")
    # Dates and the like become text: the index stores metadata as JSON.
    return str(front.get("title", "")), body, json.loads(json.dumps(front, default=str))


def _text(path: Path) -> Loaded:
    return path.stem.replace("-", " ").replace("_", " "), _read(path), {}


def _pdf(path: Path) -> Loaded:
    from pypdf import PdfReader

    reader = PdfReader(path)
    if reader.is_encrypted and not reader.decrypt(""):
        raise DocumentError(f"{path}: the PDF asks for a password. Save a copy without one")
    pages = [page.extract_text() or "" for page in reader.pages]
    # Words hyphenated over a line break are joined, so that search finds them.
    text = re.sub(r"(?<=[a-z])-\n(?=[a-z])", "", "\n\n".join(page.strip() for page in pages))
    title = str((reader.metadata.title if reader.metadata else None) or "").strip() or path.stem
    return title, text, {"pages": len(pages)}


def _docx(path: Path) -> Loaded:
    from docx import Document as open_docx
    from docx.table import Table

    source = open_docx(str(path))
    parts: list[str] = []
    for block in source.iter_inner_content():
        if isinstance(block, Table):
            rows = [" | ".join(cell.text.strip() for cell in row.cells) for row in block.rows]
            parts.append("\n".join(rows))
            continue
        style = block.style.name if block.style is not None else ""
        level = re.fullmatch(r"Heading (\d)", style or "")
        prefix = (
            "#" * int(level.group(1)) + " "
            if level
            else "# "
            if style == "Title"
            else "- "
            if "List" in (style or "")
            else ""
        )
        if block.text.strip():
            parts.append(prefix + block.text.strip())
    return (source.core_properties.title or "").strip(), "\n\n".join(parts), {}


def _html(path: Path) -> Loaded:
    from bs4 import BeautifulSoup, Tag

    soup = BeautifulSoup(_read(path), "lxml")
    for hidden in soup(["script", "style", "noscript", "template", "svg", "nav", "iframe", "head"]):
        if hidden.name != "head":
            hidden.decompose()
    title = soup.title.get_text(" ", strip=True) if soup.title else ""
    body = soup.body or soup
    blocks = ["h1", "h2", "h3", "h4", "h5", "h6", "p", "li", "pre", "td", "th", "blockquote", "dt", "dd", "figcaption"]
    parts: list[str] = []
    for node in body.find_all(blocks):
        assert isinstance(node, Tag)
        if node.find(blocks) is not None:
            continue  # its inner blocks come by themselves
        if node.name == "pre":
            parts.append(f"```\n{node.get_text().strip()}\n```")
            continue
        words = " ".join(node.get_text(" ").split())
        if words:
            marks = {"li": "- "} | {f"h{n}": "#" * n + " " for n in range(1, 7)}
            parts.append(marks.get(node.name, "") + words)
    return title, "\n\n".join(parts) or " ".join(body.get_text(" ").split()), {}


def _notebook(path: Path) -> Loaded:
    import nbformat

    notebook: Any = nbformat.reads(_read(path), as_version=4)
    parts: list[str] = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            parts.append(f"```python\n{cell.source}\n```")
            printed = [out.get("text") or out.get("data", {}).get("text/plain") or "" for out in cell.outputs]
            output = "\n".join(p for p in printed if p).strip()
            if output:
                parts.append(f"```\n{output[:2000]}\n```")
        elif cell.source.strip():
            parts.append(cell.source.strip())
    return "", "\n\n".join(parts), {}


def _beir(path: Path) -> Iterator[Document]:
    """Rows `{_id, text, title?, metadata?}` of a BEIR corpus (Thakur et al., 2021)."""
    for number, row in files.read_jsonl(path):
        if not isinstance(row.get("_id"), str) or not isinstance(row.get("text"), str):
            raise DocumentError(f"{path}:{number}: a corpus row needs text values for `_id` and `text`")
        metadata = row.get("metadata")
        yield document(
            row["_id"], str(row.get("title") or ""), row["text"], metadata if isinstance(metadata, dict) else {}
        )


LOADERS: dict[str, Callable[[Path], Loaded]] = {
    ".md": _markdown,
    ".markdown": _markdown,
    ".txt": _text,
    ".pdf": _pdf,
    ".docx": _docx,
    ".html": _html,
    ".htm": _html,
    ".ipynb": _notebook,
}
SUFFIXES = frozenset(LOADERS) | {".jsonl"}
