"""Search results and answers on a terminal, with rich."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from core.types import Answer, Hit, Message
from rag.answering import Answerer, Done, Token
from rag.retriever import Search


def hits_table(search: Search) -> None:
    """One ranking: score, document, headings and the passage's beginning."""
    table = Table(title=search.query, show_lines=True)
    for name in ("rank", "score", "document", "passage"):
        table.add_column(name, justify="right" if name in ("rank", "score") else "left")
    for hit in search.hits:
        table.add_row(str(hit.rank), f"{hit.score:.3f}", hit.chunk.doc_id, _passage(hit))
    console = Console()
    console.print(table)
    console.print(_times(search))


def stages_table(search: Search) -> None:
    """Every stage's ranking side by side, and what each took."""
    table = Table(title=search.query, show_lines=True)
    table.add_column("rank", justify="right")
    for name in search.stages:
        table.add_column(name)
    for rank in range(max((len(hits) for hits in search.stages.values()), default=0)):
        cells = []
        for hits in search.stages.values():
            cells.append(
                f"{hits[rank].score:.3f}  {hits[rank].chunk.doc_id}\n{_trail(hits[rank])}" if rank < len(hits) else ""
            )
        table.add_row(str(rank + 1), *cells)
    console = Console()
    console.print(table)
    console.print(_times(search))


def stream_answer(answerer: Answerer, question: str) -> None:
    """Writes the answer as it comes, then the checked citations with their quotes."""
    console = Console(highlight=False)
    streamed = False
    for event in answerer.stream([Message("user", question)]):
        if isinstance(event, Token):
            console.print(event.text, end="", markup=False)
            streamed = True
        elif isinstance(event, Done):
            console.print()
            if event.answer.refused:
                console.print(("\n" if streamed else "") + event.answer.text, markup=False)
            citations(event.answer)


def citations(answer: Answer) -> None:
    """The checked citations of an answer with their quotes."""
    console = Console(highlight=False)
    for citation in answer.citations:
        console.print(
            f"\n[{citation.source}] {citation.doc_id}:{citation.start}-{citation.end} (support {citation.support:.2f})\n"
            f"    {answer.sentences[citation.sentence].text}\n    “{' '.join(citation.quote.split())}”",
            markup=False,
        )


def _passage(hit: Hit) -> str:
    return f"{_trail(hit)}\n{' '.join(hit.chunk.text.split())[:160]}…"


def _trail(hit: Hit) -> str:
    return " > ".join(hit.chunk.headings) or hit.chunk.title


def _times(search: Search) -> str:
    return "  ".join(f"{name} {ms:.1f} ms" for name, ms in search.timings_ms.items())
