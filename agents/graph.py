"""The supervisor's graph: guard → condense → decide → act … → answer (→ research again → answer) → verify → remember.

Which step comes next is settled by code; the model only fills schema-constrained forms and writes the answer. The
researcher and the verifier are graphs of their own. What stays in the thread is State; everything of one run is in its
Run.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from langgraph.runtime import Runtime  # read by LangGraph from the nodes' annotations

from agents import commands, conversation, decide, numbers, replies, researcher, toolbox, verifier
from agents.conversation import State
from agents.errors import ToolError
from agents.parts import Part, split
from agents.run import LimitReached, Run
from agents.tools.finding import Finding
from rag.answering import Retrieved, Stage, refusal

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph

_EVIDENCE = 60  # cited spans that a thread keeps
_TOLD = 20  # things that the learner told


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
        span.detail |= {"route": verdict.route, "intent": verdict.intent}
    if verdict.route != "answer":
        return {"answer": replies.said(state, run, verdict.reply, "guarded")}
    run.intent = verdict.intent
    found = commands.command(state["question"], run.desk.open_question is not None, run.intent)
    if isinstance(found, str):
        return {"answer": replies.said(state, run, found)}
    if found is not None:
        run.waiting.append(found)
    elif commands.tells(state["question"], run.intent):
        return {
            "answer": replies.said(state, run, commands.NOTED),
            "told": [*state.get("told", []), state["question"]][-_TOLD:],
        }
    elif run.intent == "recall" and run.desk.conversation:
        run.waiting.append(decide.Call("recall_conversation"))
    elif run.intent == "quiz":
        run.waiting.append(decide.Call("make_quiz", {"topic": conversation.quiz_topic(state, run)}))
    return {"query": state["question"]}


def _after_guard(state: State) -> str:
    return "condense" if state.get("answer") is None else "remember"


def _condense(state: State, runtime: Runtime[Run]) -> State:
    """A follow-up as a question that stands alone."""
    run, question = runtime.context, state["question"]
    history = conversation.history(state)
    if run.waiting or not history or not conversation.refers_back(question):
        return {"query": question}
    runtime.stream_writer(Stage("condense", 0.0))
    return {"query": conversation.standalone(state, run)}


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
            if [call.tool for call in steps] == ["calculate"] and "expression" in toolbox.schema(
                run.tools["calculate"]
            ):
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
            return [_step_of(part, parts[n - 1].text if n else "", query, run) for n, part in enumerate(parts)]
    return [decide.Call("search_notes", {"query": query})] if commands.plain_question(query) else []


def _step_of(part: Part, before: str, query: str, run: Run) -> decide.Call:
    """What a part of a message takes: a sum over the message's numbers, or a search, with the part it leans on."""
    if any(map(str.isdigit, part.text)) and run.guard.check(part.text).intent == "calculation":
        return decide.Call("calculate", {"expression": f"{query}\nWork out only this: {part.text}"})
    return decide.Call("search_notes", {"query": f"{before} {part.text}" if part.leans else part.text})


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
                number := numbers.groundless(str(call.arguments.get("expression", "")), said)
            ):
                raise ToolError(f"{number} is no number of the learner's message. Use theirs, or search the notes")
            found = toolbox.call(run.tools, call.tool, call.arguments)
        except (ToolError, LimitReached) as error:
            span.detail["trouble"] = str(error)
            run.trouble.append(f"{call.tool}: {error}")
            if run.parts and call.tool != "search_notes":  # the notes may hold what could not be worked out
                run.waiting.insert(0, decide.Call("search_notes", {"query": run.parts[len(run.findings)].text}))
            return {}
        span.detail["result"] = found.text[:1000]
    _keep(runtime, found)
    if found.question:
        return {"open_question": asdict(found.question), "quiz_topic": str(call.arguments.get("topic", ""))}
    if call.tool == "grade_answer":
        return {"open_question": None}
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
    if run.parts and len(run.parts) == len(run.findings) and all(f.hits or f.final for f in run.findings):
        return {"answer": replies.by_parts(state, runtime)}
    finals = [f for f in run.findings if f.final]
    if finals and len(finals) == len(run.findings):
        return {"answer": replies.said(state, run, "\n\n".join(f.text for f in finals))}
    if not run.findings:
        _keep(runtime, toolbox.call(run.tools, "search_notes", {"query": state["query"]}))
    hits, run.documents = replies.sources(run)
    with run.trace.span("step", "answer", sources=[h.chunk.doc_id for h in hits]) as span:
        try:
            answer = replies.over(runtime, state["query"], hits)
        except LimitReached as error:
            span.detail["stopped"] = str(error)
            return {"answer": replies.stopped(state, run, str(error).capitalize())}
        span.detail["refused"] = answer.refused
    if answer.refused and finals and not run.cancel.is_set():
        # What a tool worked out is true whatever the model makes of it.
        return {"answer": replies.said(state, run, "\n\n".join(f.text for f in finals))}
    return {"answer": answer}


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
    query = state["query"] if run.searched else conversation.standalone(state, run)
    with run.trace.span("step", "research again") as span:
        found = researcher.research(run.desk, query, tried=run.searched)
        span.detail["found"] = found.text
    if found.hits:
        _keep(runtime, found, first=True)
    return {"answer": None, "query": query} if found.hits else {}


def _verify(state: State, runtime: Runtime[Run]) -> State:
    """The verifier's look at every citation; an answer that loses all of them is a refusal."""
    run, answer = runtime.context, state["answer"]
    if (
        answer.refused
        and answer.reason != "limit"
        and not run.cancel.is_set()
        and (said := conversation.closest_said(state, run))
    ):
        return {"answer": replies.said(state, run, said)}
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
        kept["summary"] = conversation.summary(state.get("summary", ""), old, run)
    return kept
