"""A note opened whole. Searching them is the researcher's."""

from __future__ import annotations

from difflib import get_close_matches

from agents.errors import ToolError
from agents.tools.finding import Finding
from rag.retriever import Retriever


def open_note(retriever: Retriever, title: str, chars: int = 6000) -> Finding:
    """One note's beginning; ToolError names the nearest titles when there is none such."""
    titles = {doc.title.casefold(): doc for doc in retriever.documents().values()}
    wanted = title.strip().casefold()
    near = get_close_matches(wanted, titles, n=3, cutoff=0.6)
    doc = titles.get(wanted) or (titles[near[0]] if near else None)
    if doc is None:
        held = [d.title for key, d in titles.items() if wanted and (wanted in key or key in wanted)][:5]
        raise ToolError(f"no note is called {title!r}" + (f". Near it: {', '.join(held)}" if held else ""))
    text = doc.text[:chars] + (" …" if len(doc.text) > chars else "")
    return Finding(f"# {doc.title}\n\n{text.removeprefix(f'# {doc.title}').strip()}", final=True)
