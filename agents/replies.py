"""Replies put together: over the passages of all findings, part by part, or what is said without a model."""

from __future__ import annotations

from collections.abc import Sequence

from langgraph.runtime import Runtime

from agents.conversation import State
from agents.parts import merged
from agents.run import LimitReached, Run
from core.types import Answer, Chunk, Document, Hit, RefusalReason
from rag.answering import Done, Token
from rag.documents import document
from rag.fusion import in_turns

_SOURCES = 6  # passages of one answer at most
_LIMIT_REPLY = "I stopped at the bound set for one answer before I had one, so I would rather not guess. {why}."


def by_parts(state: State, runtime: Runtime[Run]) -> Answer:
    """Each question of the message answered over its own passages; one that leans on those before sees what they cited."""
    run = runtime.context
    answers: list[Answer] = []
    parts, run.parts = run.parts, ()
    for part, found in zip(parts, run.findings, strict=True):
        if found.final:
            answers.append(Answer(part.text, found.text, False, None))
            continue
        cited = [a.sources[c.source - 1] for a in answers for c in a.citations] if part.leans else []
        hits = list({hit.chunk.chunk_id: hit for hit in [*cited[:2], *found.hits]}.values())
        question = part.text
        if part.leans:
            told = [f"“{p.text}” {a.text}" for p, a in zip(parts, answers, strict=False) if not a.refused]
            before = f", and knows already: {' '.join(told)}" if told else f": “{parts[0].text}”"
            question = f"{part.text}\n(The learner asked before{before})"
            if told:
                hits.insert(0, _as_source("tool/before", "Found out so far", "\n\n".join(told), run.documents))
        if answers:
            runtime.stream_writer(Token("\n\n"))
        with run.trace.span("step", "answer part", question=part.text) as span:
            try:
                answers.append(over(runtime, question, hits[: run.answerer.settings.sources]))
                span.detail["refused"] = answers[-1].refused
            except LimitReached as error:
                span.detail["stopped"] = str(error)
                break
        if run.cancel.is_set():
            break
    if not answers:
        return stopped(state, run, "No part was answered in time")
    return merged(state["query"], parts[: len(answers)], answers)


def over(runtime: Runtime[Run], question: str, hits: Sequence[Hit]) -> Answer:
    """The model's answer over passages, its words streamed as they come. LimitReached at a bound of the run."""
    run = runtime.context
    run.client.purpose = "answer"
    for event in run.answerer.over(question, hits, run.documents, cancel=run.cancel):
        if isinstance(event, Done):
            return event.answer
        runtime.stream_writer(event)
    raise AssertionError("an answer ended without Done")


def sources(run: Run) -> tuple[list[Hit], dict[str, Document]]:
    """Passages in turns from each finding, tool results as documents of their own, numbered anew."""
    documents: dict[str, Document] = {}
    lists: list[list[Hit]] = []
    for number, found in enumerate(run.findings, 1):
        if found.hits:
            lists.append(list(found.hits))
            continue
        lists.append([_as_source(f"tool/{number}", "Tool result", found.text, documents)])
    return in_turns(lists, _SOURCES), documents


def _as_source(doc_id: str, title: str, text: str, documents: dict[str, Document]) -> Hit:
    """A text as a passage that an answer may cite; its document joins `documents`."""
    made = documents[doc_id] = document(doc_id, title, text)
    return Hit(Chunk(doc_id, doc_id, made.version, 0, len(made.text), made.text, title), 1.0, 1, "tool")


def said(state: State, run: Run, text: str, reason: RefusalReason | None = None) -> Answer:
    """What is said without a model, as a refusal where there is a reason."""
    return Answer(
        state["question"], text, reason is not None, reason,
        timings_ms={"total": run.trace.elapsed_ms()}, usage=run.client.usage,
    )  # fmt: skip


def stopped(state: State, run: Run, why: str) -> Answer:
    """The refusal of a run that reached a bound before it had an answer."""
    return said(state, run, _LIMIT_REPLY.format(why=why), "limit")
