"""The supervisor's graph: guard → condense → decide → act … → answer (→ research again → answer) → verify → remember.

Which step comes next is settled by code; the model only fills schema-constrained forms and writes the answer. The
researcher and the verifier are graphs of their own. What stays in the thread is State; everything of one run is in its
Run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from langgraph.runtime import Runtime  # read by LangGraph from the nodes' annotations

from agents import decide, researcher, toolbox, verifier
from agents.errors import ToolError
from agents.parts import merged, split
from agents.run import LimitReached, Run
from agents.tools.finding import Finding
from core.errors import ServingError
from core.types import Answer, Chunk, Document, Hit, Message, RefusalReason
from rag import prompts
from rag.answering import Done, Retrieved, Stage, Token, refusal
from rag.documents import document

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph

_SOURCES = 6  # passages of one answer at most
_HISTORY = 6  # messages that a follow-up is made standalone with
_EVIDENCE = 60
_TOLD = 20
_NEAR = 0.35  # cosine from which something told may be what a question about the learner asks for
_OF_THEMSELF = re.compile(r"\b(?:I|me|my|mine)\b", re.IGNORECASE)
_TOPIC_SCHEMA = {
    "type": "object",
    "properties": {"topic": {"type": "string", "maxLength": 80}},
    "required": ["topic"],
    "additionalProperties": False,
}
LIMIT_REPLY = "I stopped at the bound set for one answer before I had one, so I would rather not guess. {why}."


class State(TypedDict, total=False):
    """What a thread keeps: its last messages, the summary of earlier ones, what the learner told of themself word for word,
    the spans cited (document:start-end), the open question and the subject of the last one."""

    messages: list[dict[str, str]]
    summary: str
    told: list[str]
    quiz_topic: str
    evidence: list[str]
    open_question: str
    question: str
    query: str
    answer: Any


def build(saver: BaseCheckpointSaver[str] | None) -> CompiledStateGraph[State, Run, State, State]:
    """The compiled graph over a checkpointer."""
    from langgraph.graph import END, START, StateGraph

    graph = StateGraph(State, context_schema=Run)
    for node in (_guard, _condense, _decide, _act, _answer, _research_again, _verify, _remember):
        graph.add_node(node.__name__[1:], node)
    graph.add_edge(START, "guard")
    graph.add_conditional_edges("guard", _after_guard, ["condense", "remember"])
    graph.add_edge("condense", "decide")
    graph.add_edge("decide", "act")
    graph.add_conditional_edges("act", _after_act, ["act", "decide", "answer"])
    graph.add_conditional_edges("answer", _after_answer, ["research_again", "verify"])
    graph.add_conditional_edges("research_again", _after_research, ["answer", "verify"])
    graph.add_edge("verify", "remember")
    graph.add_edge("remember", END)
    return graph.compile(checkpointer=saver)


def _guard(state: State, runtime: Runtime[Run]) -> State:
    """Requests the tutor declines, and commands that need no model."""
    run = runtime.context
    with run.trace.span("step", "guard") as span:
        verdict = run.guard.check(state["question"])
        span.detail["route"] = verdict.route
    if verdict.route != "answer":
        return {"answer": _said(state, run, verdict.reply, "guarded")}
    run.intent = verdict.intent
    found = decide.command(state["question"], bool(state.get("open_question")), run.intent)
    if isinstance(found, str):
        return {"answer": _said(state, run, found)}
    if found is not None:
        run.waiting.append(found)
    elif decide.tells(state["question"], run.intent):
        return {"answer": _said(state, run, decide.NOTED), "told": [*state.get("told", []), state["question"]][-_TOLD:]}
    elif run.intent == "recall" and run.desk.conversation:
        run.waiting.append(decide.Call("recall_conversation"))
    elif run.intent == "quiz":
        run.waiting.append(decide.Call("make_quiz", {"topic": _quiz_topic(state, run)}))
    return {"query": state["question"]}


def _after_guard(state: State) -> str:
    return "condense" if state.get("answer") is None else "remember"


def _condense(state: State, runtime: Runtime[Run]) -> State:
    """A follow-up as a question that stands alone."""
    run, question = runtime.context, state["question"]
    history = _history(state)
    if run.waiting or not history or not _refers_back(question):
        return {"query": question}
    runtime.stream_writer(Stage("condense", 0.0))
    return {"query": _standalone(state, run)}


def _standalone(state: State, run: Run) -> str:
    """The message as a question that stands alone, by the model; what the learner told of themself counts as said."""
    question, history = state["question"], _history(state)
    told = [Message("user", text) for text in state.get("told", []) if all(text != m.content for m in history)]
    run.client.purpose = "condense"
    with run.trace.span("step", "condense") as span:
        try:
            text = run.client.complete(prompts.condense(question, [*told, *history]), max_tokens=64, stop=["\n"]).text
        except LimitReached:
            text = ""
        span.detail["query"] = query = prompts.standalone(text, question, history)
    return query


def _decide(state: State, runtime: Runtime[Run]) -> State:
    """The next steps: those of a command, else the model's, else a search for the question."""
    run = runtime.context
    if run.waiting:
        return {}
    if not run.always_decide and not run.trouble and (settled := _settled(state["query"], run)):
        run.waiting = settled
        return {}
    runtime.stream_writer(Stage("decide", 0.0))
    run.client.purpose = "decide"
    asked = (
        state["query"] if state["query"] == state["question"] else f"{state['question']} (that is: {state['query']})"
    )
    most = run.limits.plan_steps
    with run.trace.span("step", "decide") as span:
        try:
            reply = run.client.complete(
                decide.prompt(asked, run.tools, most, run.trouble),
                max_tokens=decide.MAX_TOKENS,
                schema=decide.schema(run.tools, most),
            )
            steps = [c for c in decide.parse(reply.text, run.tools, most) if c.key() not in run.done]
            if [call.tool for call in steps] == ["calculate"]:
                # The calculator is handed the problem itself: its numbers are right, a small model's formula may not be.
                steps = [decide.Call("calculate", {"expression": asked})]
        except LimitReached as error:
            span.detail["stopped"] = str(error)
            steps = []
        run.waiting = steps or ([decide.Call("search_notes", {"query": state["query"]})] if not run.findings else [])
        span.detail["steps"] = [f"{c.tool}({dict(c.arguments)})" for c in run.waiting]
    return {}


def _settled(query: str, run: Run) -> list[decide.Call]:
    """The steps of a message that need no model to be known: a sum, one question, or several; else none."""
    if run.intent == "calculation" and any(map(str.isdigit, query)):
        return [decide.Call("calculate", {"expression": query})]
    if run.intent in ("", "question", "gpu_memory"):
        parts = split(query, run.limits.plan_steps)
        if len(parts) > 1:
            run.parts = parts
            before = ["", *(part.text for part in parts)]
            return [
                decide.Call("search_notes", {"query": f"{before[n]} {part.text}" if part.leans else part.text})
                for n, part in enumerate(parts)
            ]
    return [decide.Call("search_notes", {"query": query})] if decide.plain_question(query) else []


def _quiz_topic(state: State, run: Run) -> str:
    """The subject of the question asked for; where the message points back, the last one's or what the conversation says."""
    question = state["question"]
    topic = decide.quiz_topic(question)
    if not decide.points_back(question) and topic:
        return topic
    last = state.get("quiz_topic", "")
    if last and (not topic or re.search(r"\b(?:same|again|that|it)\b", question, re.IGNORECASE)):
        return last
    if not decide.points_back(question) or not run.desk.conversation:
        return topic
    run.client.purpose = "topic"
    with run.trace.span("step", "topic") as span:
        try:
            asked = f"Conversation:\n{run.desk.conversation[-3000:]}\n\nLast message: {question}"
            reply = run.client.complete(
                [Message("system", decide.instructions("topic")), Message("user", asked)],
                max_tokens=60,
                schema=_TOPIC_SCHEMA,
            )
            topic = str(decide.json_object(reply.text).get("topic", "")).strip() or topic
        except LimitReached:
            pass
        span.detail["topic"] = topic
    return topic


def _act(state: State, runtime: Runtime[Run]) -> State:
    """One tool call. What goes wrong is told to the next decision."""
    run = runtime.context
    if not run.waiting or run.cancel.is_set():
        return {}
    call = run.waiting.pop(0)
    runtime.stream_writer(Stage(call.tool, 0.0))
    with run.trace.span("tool", call.tool, arguments=dict(call.arguments)) as span:
        try:
            run.take(call)
            said = f"{state['question']} {state['query']} {run.desk.conversation}"
            if call.tool == "calculate" and (
                number := decide.groundless(str(call.arguments.get("expression", "")), said)
            ):
                raise ToolError(f"{number} is no number of the learner's message. Use theirs, or search the notes")
            found = toolbox.call(run.tools, call.tool, call.arguments)
        except (ToolError, LimitReached) as error:
            span.detail["trouble"] = str(error)
            run.trouble.append(f"{call.tool}: {error}")
            return {}
        span.detail["result"] = found.text[:1000]
    _keep(runtime, found)
    if found.question_id:
        return {"open_question": found.question_id, "quiz_topic": str(call.arguments.get("topic", ""))}
    if call.tool == "grade_answer":
        return {"open_question": ""}
    return {}


def _keep(runtime: Runtime[Run], found: Finding, first: bool = False) -> None:
    """Adds what a tool brought back to the run, before all else or after it, and shows the search it made."""
    run = runtime.context
    run.findings.insert(0 if first else len(run.findings), found)
    for search in found.searches:
        run.searched.append(search.query)
        runtime.stream_writer(Retrieved(search.query, search))


def _after_act(state: State, runtime: Runtime[Run]) -> str:
    run = runtime.context
    if run.cancel.is_set():
        return "answer"
    if run.waiting:
        return "act"
    # Trouble and nothing found: once more, knowing what went wrong; the second time plain retrieval answers.
    if not run.findings and len(run.trouble) <= 1:
        return "decide"
    return "answer"


def _answer(state: State, runtime: Runtime[Run]) -> State:
    """Final findings as they are; else an answer over all sources found, each sentence checked."""
    run = runtime.context
    finals = [f for f in run.findings if f.final]
    sources = [f for f in run.findings if not f.final]
    if finals and not sources:
        return {"answer": _said(state, run, "\n\n".join(f.text for f in finals))}
    if not run.findings:
        _keep(runtime, toolbox.call(run.tools, "search_notes", {"query": state["query"]}))
    if run.parts and len(run.parts) == len(run.findings) and all(f.hits for f in run.findings):
        return {"answer": _by_parts(state, runtime)}
    hits, run.documents = _sources(run)
    run.client.purpose = "answer"
    with run.trace.span("step", "answer", sources=[h.chunk.doc_id for h in hits]) as span:
        try:
            for event in run.answerer.over(state["query"], hits, run.documents, cancel=run.cancel):
                if isinstance(event, Done):
                    span.detail["refused"] = event.answer.refused
                    if event.answer.refused and finals and not run.cancel.is_set():
                        # What a tool worked out is true whatever the model makes of it.
                        return {"answer": _said(state, run, "\n\n".join(f.text for f in finals))}
                    return {"answer": event.answer}
                runtime.stream_writer(event)
        except LimitReached as error:
            span.detail["stopped"] = str(error)
            return {"answer": _said(state, run, LIMIT_REPLY.format(why=str(error).capitalize()), "limit")}
    raise AssertionError("an answer ended without Done")


def _by_parts(state: State, runtime: Runtime[Run]) -> Answer:
    """Each question of the message answered over its own passages; one that leans on those before sees what they cited."""
    run = runtime.context
    answers: list[Answer] = []
    parts, run.parts = run.parts, ()
    run.client.purpose = "answer"
    for part, found in zip(parts, run.findings, strict=True):
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
        return _said(state, run, LIMIT_REPLY.format(why="No part was answered in time"), "limit")
    return merged(state["query"], parts[: len(answers)], answers)


def _after_answer(state: State, runtime: Runtime[Run]) -> str:
    run, answer = runtime.context, state["answer"]
    retry = answer.refused and answer.reason in ("model_declined", "not_in_sources") and not run.cancel.is_set()
    # What was said before may name the subject of a question to the notes: "how big is the GPU I told you of?"
    unsearched = run.intent == "recall" and not run.searched and run.client.calls_left >= 2
    again = unsearched or (run.searched and researcher.may_rewrite(run.desk))
    return "research_again" if retry and again else "verify"


def _after_research(state: State) -> str:
    return "answer" if state["answer"] is None else "verify"


def _research_again(state: State, runtime: Runtime[Run]) -> State:
    """The researcher's other query for the same question; its passages come first."""
    run = runtime.context
    query = state["query"] if run.searched else _standalone(state, run)
    with run.trace.span("step", "research again") as span:
        found = researcher.research(run.desk, query, tried=run.searched)
        span.detail["found"] = found.text
    if found.hits:
        _keep(runtime, found, first=True)
    return {"answer": None, "query": query} if found.hits else {}


def _verify(state: State, runtime: Runtime[Run]) -> State:
    """The verifier's look at every citation; an answer that loses all of them is a refusal."""
    run, answer = runtime.context, state["answer"]
    if answer.refused and answer.reason != "limit" and not run.cancel.is_set() and (said := _closest_said(state, run)):
        return {"answer": _said(state, run, said)}
    if not answer.citations or not run.desk.settings.verify or run.cancel.is_set():
        return {}
    with run.trace.span("step", "verify") as span:
        kept = verifier.checked(run.desk, answer)
        span.detail["struck"] = len(answer.citations) - len(kept.citations)
    if kept is answer:
        return {}
    if not kept.citations:
        kept = refusal(
            answer.question, state["query"], answer.sources, "not_in_sources", answer.timings_ms, answer.usage
        )
    return {"answer": kept}


def _closest_said(state: State, run: Run) -> str:
    """The learner's own words nearest to what they ask about themself, quoted; empty where they said nothing of the kind."""
    import numpy as np

    told = state.get("told", [])
    if run.intent == "recall":
        told = [*told, *(m["content"] for m in state.get("messages", []) if m["role"] == "user")]
    elif not _OF_THEMSELF.search(state["question"]):
        return ""
    told = list(dict.fromkeys(text for text in reversed(told) if "?" not in text))  # what was said last comes first
    if not told:
        return ""
    vectors = run.desk.retriever.embedder.encode([state["question"], *told], tokens=False)[0]
    closeness = vectors[1:] @ vectors[0]
    nearest = [n for n in np.argsort(-closeness, kind="stable")[:2] if run.intent == "recall" or closeness[n] >= _NEAR]
    return "You told me: " + " ".join(f"“{told[n]}”" for n in sorted(nearest)) if nearest else ""


def _remember(state: State, runtime: Runtime[Run]) -> State:
    """The turn joins the thread; what grows too long is summarised by the model, the cited spans kept by name."""
    run, answer = runtime.context, state["answer"]
    messages = [
        *state.get("messages", []),
        {"role": "user", "content": state["question"]},
        {"role": "assistant", "content": answer.text},
    ]
    evidence = [*state.get("evidence", []), *(f"{c.doc_id}:{c.start}-{c.end}" for c in answer.citations)]
    # The answer itself is not kept: the thread needs its words and what it cited.
    kept: State = {
        "evidence": list(dict.fromkeys(reversed(evidence)))[:_EVIDENCE][::-1],
        "messages": messages,
        "answer": None,
    }
    most = 2 * run.turns_kept
    if len(messages) > most:
        old, kept["messages"] = messages[: most // 2], messages[most // 2 :]
        kept["summary"] = _summary(state.get("summary", ""), old, run)
    return kept


def _summary(before: str, old: Sequence[dict[str, str]], run: Run) -> str:
    told = "\n".join(
        f"{'Learner' if m['role'] == 'user' else 'Tutor'}: {' '.join(m['content'].split())[:300]}" for m in old
    )
    run.client.purpose = "summary"
    with run.trace.span("step", "summary"):
        try:
            reply = run.client.complete(
                [
                    Message("system", decide.instructions("summary")),
                    Message("user", f"{f'Summary so far: {before}' if before else ''}\n\n{told}\n\nSummary:".strip()),
                ],
                max_tokens=180,
            )
            return reply.text.strip()
        except (LimitReached, ServingError):
            # The learner's own words are what must not be lost.
            said = [m["content"] for m in old if m["role"] == "user"]
            return f"{before} {' '.join(said)}".strip()[-1500:]


def _history(state: State) -> list[Message]:
    found = [Message("user" if m["role"] == "user" else "assistant", m["content"]) for m in state.get("messages", [])]
    return found[-_HISTORY:]


def _refers_back(question: str) -> bool:
    """Whether a message may lean on earlier ones: short, or with a word that points back."""
    points = r"\b(?:it|its|this|that|these|those|they|them|their|one|ones|first|second|third|last|former|latter|same|other|others|more|again|instead|else|why|example|and|so|then|there|above|before|earlier|my|i)\b"
    return len(question.split()) <= 6 or re.search(points, question, re.IGNORECASE) is not None


def _sources(run: Run) -> tuple[list[Hit], dict[str, Document]]:
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


def _said(state: State, run: Run, text: str, reason: RefusalReason | None = None) -> Answer:
    return Answer(
        state["question"], text, reason is not None, reason,
        timings_ms={"total": run.trace.elapsed_ms()}, usage=run.client.usage,
    )  # fmt: skip
