"""The tutor as an MCP server: other assistants ask it, search its notes, and draw practice questions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agents.tools import calculate as arithmetic
from agents.tools import gpu_memory as memory
from rag.asking import to_row

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

    from agents.tutor import Tutor


def server(tutor: Tutor) -> MCPServer[Any]:
    """The server with its tools; run it with `.run()` (stdio) or `.run("streamable-http")`."""
    from mcp.server.mcpserver import MCPServer

    made: MCPServer[Any] = MCPServer(
        "genl-tutor", instructions="Answers about NVIDIA's NCA-GENL exam from study notes, with checked citations."
    )

    @made.tool()
    def ask_tutor(question: str) -> dict[str, Any]:
        """Answer a question about generative AI and LLMs from the study notes, with citations, or refuse honestly."""
        row = to_row("", tutor.ask(question, learner="mcp").answer)
        return {name: row[name] for name in ("answer", "refused", "citations")}

    @made.tool()
    def search_notes(query: str, k: int = 4) -> list[dict[str, Any]]:
        """Passages of the study notes for a query, best first."""
        hits = tutor.retriever.search(query, min(max(k, 1), 20)).hits
        return [
            {"doc_id": h.chunk.doc_id, "title": h.chunk.title, "text": h.chunk.text, "score": h.score} for h in hits
        ]

    @made.tool()
    def practice_question(topic: str = "") -> dict[str, Any]:
        """A practice question with options, key, explanation and the passage it rests on."""
        from agents.tools.quiz import make_quiz

        found = make_quiz(tutor.bank, tutor.retriever, tutor.learners.learner("mcp"), topic)
        q = found.question
        assert q is not None  # make_quiz
        return {"question": q.question, "options": list(q.options), "correct": list(q.correct),
                "explanation": q.explanation, "source": q.source.quote}  # fmt: skip

    @made.tool()
    def calculate(expression: str) -> str:
        """Arithmetic with units (bytes, FLOP, seconds, tokens): "7e9 * 2 B in GiB"."""
        return arithmetic.calculate(expression)

    @made.tool()
    def gpu_memory(model: str = "", billions: float = 0, purpose: memory.Purpose = "inference", bits: int = 16,
                   context: int = 4096, batch: int = 1) -> str:  # fmt: skip
        """GPU memory a model needs for inference or for LoRA, QLoRA or full training, part by part."""
        return memory.gpu_memory(model, billions, purpose, bits, context, batch)

    return made
