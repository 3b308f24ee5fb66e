"""Replies put together: over the passages of all findings, part by part, or what is said without a model."""

from __future__ import annotations

from langgraph.runtime import Runtime

from agents.conversation import State
from agents.parts import merged
from agents.run import LimitReached, Run
from core.types import Answer, Chunk, Document, Hit, RefusalReason
from rag.answering import Done, Token
from rag.documents import document

_SOURCES = 6  # passages of one answer at most
LIMIT_REPLY = "I stopped at the bound set for one answer before I had one, so I would rather not guess. {why}."


def by_parts(state: State, runtime: Runtime[Run]) -> Answer:
    """Each question of the message answered over its own passages; one that leans on those before sees what they cited."""
    run = runtime.context
    answers: list[Answer] = []
    parts, run.parts = run.parts, ()
    run.client.purpose = "answer"
    for part, found in zip(parts, run.findings, strict=True):
        if found.final:
            answers.append(Answer(part.text, found.text, False, None))
            continue
        cited = [a.sources[c.source - 1] for a in answers for c in a.citations] if part.leans else []
        hits = list({hit.chunk.chunk_id: hit for hit in [*cited[:2], *found.hits]}.values())
        question = part.text
        if part.leans:
            told = [f"“{p.text}” {a.text}" for p, a in zip(parts, answers, strict=False) if not a.refused]
            question = (
                f"{part.text}\n(The learner asked before, and knows already: {' '.join(told)})"
                if told
                else (f"{part.text}\n(The learner asked before: “{parts[0].text}”)")
            )
        if answers:
            runtime.stream_writer(Token("\n\n"))
        with run.trace.span("step", "answer part", question=part.text) as span:
            try:
                for event in run.answerer.over(
                    question, hits[: run.answerer.settings.sources], run.documents, cancel=run.cancel
                ):
                    if isinstance(event, Done):
                        answers.append(event.answer)
                        span.detail["refused"] = event.answer.refused
                    else:
                        runtime.stream_writer(event)
            except LimitReached as error:
                span.detail["stopped"] = str(error)
                break
        if run.cancel.is_set():
            break
    if not answers:
        return said(state, run, LIMIT_REPLY.format(why="No part was answered in time"), "limit")
    return merged(state["query"], parts[: len(answers)], answers)


def sources(run: Run) -> tuple[list[Hit], dict[str, Document]]:
    """Passages in turns from each finding, tool results as documents of their own, numbered anew."""
    documents: dict[str, Document] = {}
    lists: list[list[Hit]] = []
    for number, found in enumerate(run.findings, 1):
        if found.hits:
            lists.append(list(found.hits))
            continue
        made = document(f"tool/{number}", "Tool result", found.text)
        documents[made.doc_id] = made
        chunk = Chunk(made.doc_id, made.doc_id, made.version, 0, len(made.text), made.text, made.title)
        lists.append([Hit(chunk, 1.0, 1, "tool")])
    hits: dict[str, Hit] = {}
    for rank in range(max(map(len, lists), default=0)):
        for found_hits in lists:
            if rank < len(found_hits):
                hits.setdefault(found_hits[rank].chunk.chunk_id, found_hits[rank])
    return list(hits.values())[:_SOURCES], documents


def said(state: State, run: Run, text: str, reason: RefusalReason | None = None) -> Answer:
    return Answer(
        state["question"], text, reason is not None, reason,
        timings_ms={"total": run.trace.elapsed_ms()}, usage=run.client.usage,
    )  # fmt: skip
