"""The notes as tools: search them, or open one whole."""

from __future__ import annotations

from difflib import get_close_matches

from agents.errors import ToolError
from agents.tools.finding import Finding
from rag.retriever import Retriever


def search_notes(retriever: Retriever, query: str, k: int = 4) -> Finding:
    """The k best passages for a query."""
    query = query.strip()
    if not query:
        raise ToolError("the query is empty")
    search = retriever.search(query, k=k)
    hits = search.hits
    found = "; ".join(dict.fromkeys(hit.chunk.title for hit in hits))
    return Finding(f"passages of: {found}" if hits else "nothing found", hits=hits, search=search)


def open_note(retriever: Retriever, title: str, chars: int = 6000) -> Finding:
    """One note's beginning; ToolError names the nearest titles when there is none such."""
    titles = {doc.title.casefold(): doc for doc in retriever.documents()}
    wanted = title.strip().casefold()
    near = get_close_matches(wanted, titles, n=3, cutoff=0.6)
    doc = titles.get(wanted) or (titles[near[0]] if near else None)
    if doc is None:
        held = [d.title for key, d in titles.items() if wanted and (wanted in key or key in wanted)][:5]
        raise ToolError(f"no note is called {title!r}" + (f". Near it: {', '.join(held)}" if held else ""))
    text = doc.text[:chars] + (" …" if len(doc.text) > chars else "")
    return Finding(f"# {doc.title}\n\n{text.removeprefix(f'# {doc.title}').strip()}", final=True)
