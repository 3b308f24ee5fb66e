"""The agent over real retrieval, real tools and real threads; only the model's words are scripted."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from agents import commands, conversation, decide
from agents.config import AgentSettings, Limits
from agents.errors import AgentError
from agents.tutor import Finished, Tutor
from core import exam
from core.errors import ServingError
from rag.answering import Stage, Token
from rag.retriever import Retriever
from serving.client import ChatClient, Endpoint

Make = Callable[..., Tutor]
LORA = "LoRA freezes the base model and trains two small matrices of rank r beside each weight matrix. [1]"


def _steps(*calls: dict[str, Any]) -> str:
    return json.dumps({"steps": list(calls)})


def _script(decision: str, answer: str = LORA, rewrite: str = '{"query": "adapter matrices"}') -> Callable[..., str]:
    def script(body: dict[str, Any]) -> str:
        system = body["messages"][0]["content"]
        if "You plan the next steps" in system:
            return decision
        if "Write one other search query" in system:
            return rewrite
        if "standalone" in system:
            return "How does LoRA train a model?"
        if "Summarise this conversation" in system:
            return "The learner's exam is on 3 March."
        return answer

    return script


def test_a_question_is_decided_searched_answered_and_cited(tutor: Make) -> None:
    made = tutor(_script(_steps({"tool": "search_notes", "query": "How does LoRA train?"})))
    events = list(made.stream("How does LoRA train a model?"))
    done = events[-1]
    assert isinstance(done, Finished) and not done.answer.refused
    assert done.answer.citations[0].doc_id == "lora.md"
    assert [e.name for e in events if isinstance(e, Stage)][:2] == ["decide", "search_notes"]
    assert any(isinstance(e, Token) for e in events)
    assert done.trace.tools() == ["search_notes"] and done.trace.count("model") == 2
    row = json.loads(json.dumps(done.trace.to_row()))
    assert next(s for s in row["spans"] if s["kind"] == "model")["detail"]["reply"].startswith('{"steps"')
    schema = made.requests[0]["response_format"]["json_schema"]["schema"]  # type: ignore[attr-defined]
    assert "search_notes" in json.dumps(schema) and schema["properties"]["steps"]["maxItems"] == 3


def test_a_plain_question_is_searched_without_asking_what_to_do(tutor: Make) -> None:
    done = tutor(_script("unused"), always_decide=False).ask("How does LoRA train a model?")
    assert not done.answer.refused and done.trace.count("model") == 1 and done.trace.tools() == ["search_notes"]


@pytest.mark.parametrize(
    ("message", "plain"),
    [("What is LoRA?", True), ("explain dynamic batching", True), ("How much memory does QLoRA save?", True),
     ("Compare LoRA and QLoRA", False), ("How many GB is a 7B model in BF16?", False), ("When is my exam?", False),
     ("What is BLEU? And what is ROUGE?", False), ("hello", False), ("open the note on Triton", False)],
)  # fmt: skip
def test_what_counts_as_a_plain_question(message: str, plain: bool) -> None:
    assert commands.plain_question(message) is plain


def test_a_sum_of_constants_that_nobody_asked_for_is_refused(tutor: Make) -> None:
    plan = _steps({"tool": "calculate", "expression": "1024 * 1024"}, {"tool": "search_notes", "query": "LoRA"})
    done = tutor(_script(plan)).ask("How does LoRA train a model?")
    assert any("1024 is no number" in str(span.detail.get("trouble")) for span in done.trace.spans)
    assert done.answer.citations and "1,048,576" not in done.answer.text


def test_a_plan_of_two_searches_answers_from_both(tutor: Make) -> None:
    plan = _steps({"tool": "search_notes", "query": "LoRA matrices"}, {"tool": "search_notes", "query": "Triton ports"})
    answer = LORA + " Triton serves models over gRPC on port 8001. [2]"
    done = tutor(_script(plan, answer)).ask("Compare LoRA and Triton")
    assert {c.doc_id for c in done.answer.citations} == {"lora.md", "triton.md"}


def test_a_sum_of_numbers_nobody_gave_is_refused(tutor: Make) -> None:
    plan = _steps(
        {"tool": "calculate", "expression": "2 * 0.8 * 0.6 / (0.8 + 0.6)"}, {"tool": "search_notes", "query": "LoRA"}
    )
    done = tutor(_script(plan)).ask("How does LoRA train a model of 4096 by 4096?")
    assert any("0.8 is no number" in str(span.detail.get("trouble")) for span in done.trace.spans)
    assert done.answer.citations and "0.685714" not in done.answer.text


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("Does a QLoRA run of llama-3-8b fit into 24 GB?", {"purpose": "qlora", "model": "llama-3-8b"}),
        ("how much memory for full fine-tuning of a 7B model", {"purpose": "full", "billions": 7.0}),
        ("What GPU do I need to serve Llama 3 8B in 4 bit with 8192 tokens?",
         {"purpose": "inference", "model": "llama-3-8b", "bits": 4, "context": 8192}),
        ("How much memory does QLoRA save?", None),
        ("What is LoRA's rank in Llama 3 8B?", None),
    ],
)  # fmt: skip
def test_memory_of_a_named_model_needs_no_decision(message: str, arguments: dict[str, Any] | None) -> None:
    found = commands.command(message, open_question=False, intent="")
    assert found == (decide.Call("gpu_memory", arguments) if arguments else None)


@pytest.mark.parametrize(
    ("message", "outlined"),
    [("Which domain counts most in the exam, and with what weight?", True), ("How long is the NCA-GENL exam?", True),
     ("Which domains of the exam am I weakest in?", False), ("When is my exam?", False), ("What weight decay does AdamW use?", False)],
)  # fmt: skip
def test_the_exam_itself_is_known(message: str, outlined: bool) -> None:
    assert (commands.command(message, open_question=False, intent="question") == exam.outline()) is outlined
    assert all(d.name in exam.outline() and f"{d.weight} %" in exam.outline() for d in exam.DOMAINS)


def test_numbers_need_no_second_model_call(tutor: Make) -> None:
    done = tutor(_script(_steps({"tool": "calculate", "expression": "7e9 * 2 B"}))).ask("7e9 parameters of 2 bytes?")
    assert "14 GB" in done.answer.text and done.trace.count("model") == 1 and not done.answer.refused


def test_a_tool_result_beside_passages_is_a_source(tutor: Make) -> None:
    plan = _steps(
        {"tool": "search_notes", "query": "LoRA rank"}, {"tool": "calculate", "expression": "8 * (4096 + 4096)"}
    )
    done = tutor(_script(plan, LORA + " 8 * (4096 + 4096) = 65,536. [2]")).ask(
        "How many does rank 8 train beside 4096 by 4096, and why?"
    )
    assert "tool/2" in {hit.chunk.doc_id for hit in done.answer.sources}
    cited = {c.doc_id: c for c in done.answer.citations}
    assert cited["lora.md"].quote and "65,536" in cited.get("tool/2", cited["lora.md"]).quote


def test_a_tool_s_result_stands_when_the_model_declines(tutor: Make) -> None:
    plan = _steps({"tool": "search_notes", "query": "LoRA"}, {"tool": "calculate", "expression": "8 * 4096"})
    done = tutor(_script(plan, "NOT IN SOURCES")).ask("What is 8 * 4096, and what has it to do with parrots?")
    assert not done.answer.refused and "32,768" in done.answer.text


def test_what_a_tool_cannot_do_is_told_and_plain_retrieval_answers(tutor: Make) -> None:
    made = tutor(_script(_steps({"tool": "calculate", "expression": "lots of parrots"})))
    done = made.ask("How does LoRA train a model?")
    assert not done.answer.refused and done.answer.citations
    decisions = [r for r in made.requests if "You plan" in r["messages"][0]["content"]]  # type: ignore[attr-defined]
    assert len(decisions) == 2 and "This did not work: calculate" in decisions[1]["messages"][1]["content"]


@pytest.mark.parametrize(
    "decision", ["", "no JSON at all", '{"steps": []}', '{"steps": [{"tool": "rm -rf"}]}', '{"steps": 3}']
)
def test_a_decision_that_is_none_falls_back_to_plain_retrieval(tutor: Make, decision: str) -> None:
    done = tutor(_script(decision)).ask("How does LoRA train a model?")
    assert not done.answer.refused and done.trace.tools() == ["search_notes"]


def test_a_refusal_is_searched_again_once(tutor: Make) -> None:
    made = tutor(_script(_steps({"tool": "search_notes", "query": "capital"}), "NOT IN SOURCES"))
    done = made.ask("What is the capital of France?")
    assert done.answer.refused and done.answer.reason == "model_declined"
    assert done.trace.count("model") == 4 and [s.name for s in done.trace.spans].count("rewrite") == 1


def test_no_bound_is_passed(tutor: Make) -> None:
    made = tutor(_script("nonsense", "NOT IN SOURCES"), limits=Limits(model_calls=2, tool_calls=1, searches_again=3))
    done = made.ask("What is the capital of France?")
    assert done.answer.refused and done.trace.count("model") <= 2 and done.trace.count("tool") <= 1
    slow = tutor(_script("nonsense", "word " * 400), delay_s=0.05, limits=Limits(seconds=1))
    started = time.monotonic()
    done = slow.ask("How does LoRA train a model?")
    assert done.answer.reason == "limit" and time.monotonic() - started < 15


def test_an_answer_can_be_stopped_within_a_step(tutor: Make) -> None:
    made = tutor(_script(_steps({"tool": "search_notes", "query": "LoRA"}), LORA * 50), delay_s=0.05)
    cancel = threading.Event()
    started = time.monotonic()
    for event in made.stream("How does LoRA train a model?", cancel=cancel):
        if isinstance(event, Token):
            cancel.set()
    assert time.monotonic() - started < 10


def test_a_quiz_is_asked_graded_and_remembered_across_a_restart(
    tutor: Make, retriever: Retriever, settings: AgentSettings, understanding: dict[str, Any]
) -> None:
    settings = settings.model_copy(update=understanding)
    made = tutor(_script("unused"), **understanding)
    asked = made.ask("quiz me on Triton", thread="a", learner="ada").answer
    assert "gRPC" in asked.text and "C) 8001" in asked.text
    made.close()
    again = Tutor(retriever, made.client, settings)
    graded = again.ask("c", thread="a", learner="ada").answer
    assert graded.text.startswith("Right: the answer is C") and "triton.md" in graded.text
    progress = again.ask("How am I doing?", thread="a", learner="ada").answer
    assert "1 of them right (100%)" in progress.text
    assert "not answered" in again.ask("how am i doing?", thread="b", learner="bob").answer.text
    assert again.forget("ada") == (1, 1)
    assert "not answered" in again.ask("how am i doing?", thread="a", learner="ada").answer.text


def test_follow_ups_are_made_standalone_and_what_was_said_can_be_asked(tutor: Make) -> None:
    def script(body: dict[str, Any]) -> str:
        asked = body["messages"][-1]["content"]
        if "You plan" in body["messages"][0]["content"] and "exam" in asked:
            return _steps({"tool": "recall_conversation"})
        if "exam is" in asked and "numbered sources" in body["messages"][0]["content"]:
            return "Your exam is on 3 March. [1]"
        return _script(_steps({"tool": "search_notes", "query": "LoRA"}))(body)

    made = tutor(script)
    made.ask("My exam is on 3 March. How does LoRA train a model?", thread="t")
    follow_up = made.ask("And why is it cheap?", thread="t")
    assert any(s.name == "condense" and s.kind == "step" for s in follow_up.trace.spans)
    recalled = made.ask("When is my exam?", thread="t").answer
    assert "3 March" in recalled.text and not recalled.refused
    doc_id, span = made.evidence("t")[0].split(":")
    start, end = map(int, span.split("-"))
    assert doc_id == "lora.md" and "two small matrices" in made.retriever.document(doc_id).text[start:end]


@pytest.mark.parametrize(
    ("message", "leans"),
    [("and why is that the right answer?", True), ("Can it be merged?", True), ("What does ROUGE-L measure in a summary then?", True),
     ("ok thx. now something else: which shares should I buy this month?", False), ("New topic: why is that so?", False),
     ("Which collective does data-parallel training use for gradients?", False)],
)  # fmt: skip
def test_what_leans_on_earlier_turns(message: str, leans: bool) -> None:
    assert conversation.refers_back(message) is leans


def test_what_the_learner_tells_is_kept_and_quoted(tutor: Make, understanding: dict[str, Any]) -> None:
    told = "Hi, my name is Priya and my exam is on 14 December."
    made = tutor(_script("unused", "NOT IN SOURCES"), **understanding, turns_kept=2)
    assert "keep that in mind" in made.ask(told, thread="t").answer.text
    for _ in range(4):  # the turn itself goes into the summary
        made.ask("How does LoRA train a model?", thread="t")
    recalled = made.ask("When did I say my exam is?", thread="t")
    assert not recalled.answer.refused and "14 December" in recalled.answer.text
    assert "recall_conversation" in recalled.trace.tools()
    assert any("14 December" in json.dumps(r["messages"]) for r in made.requests[-3:])  # type: ignore[attr-defined]


def test_a_quiz_on_the_same_subject_or_on_what_was_told(tutor: Make, understanding: dict[str, Any]) -> None:
    def script(body: dict[str, Any]) -> str:
        if "wants a practice question" in body["messages"][0]["content"]:
            assert "ports of Triton" in body["messages"][1]["content"]
            return '{"topic": "Triton ports"}'
        return "unused"

    made = tutor(script, **understanding)
    made.ask("I always get the ports of Triton wrong.", thread="t")
    asked = made.ask("Ask me one question on the topic I said I keep failing.", thread="t")
    assert "gRPC" in asked.answer.text and asked.trace.count("model") == 1
    made.ask("C", thread="t")
    again = made.ask("another one on the same topic pls", thread="t")
    # All on Triton are answered right by now, so the examiner is asked, whose model writes nothing of use here.
    assert again.trace.tools() == ["make_quiz"] and {s.name for s in again.trace.spans if s.kind == "model"} == {
        "examine"
    }
    assert "gRPC" in again.answer.text


def test_several_questions_are_answered_one_by_one(tutor: Make, understanding: dict[str, Any]) -> None:
    def script(body: dict[str, Any]) -> str:
        asked = body["messages"][-1]["content"].split("Question: ")[-1]
        if asked.startswith("And which port"):
            assert "knows already: “How does LoRA train a model?” LoRA freezes" in asked
            return "Triton serves models over HTTP on port 8000 and gRPC on port 8001. [1]"
        return LORA

    events = list(
        tutor(script, **understanding).stream("How does LoRA train a model? And which port does Triton use for that?")
    )
    done = events[-1]
    assert isinstance(done, Finished) and done.trace.tools() == ["search_notes"] * 2 and done.trace.count("model") == 2
    assert {c.doc_id for c in done.answer.citations} == {"lora.md", "triton.md"}
    for sentence in done.answer.sentences:
        assert done.answer.text[sentence.start : sentence.end] == sentence.text


def test_long_threads_are_summarised_and_their_file_stays_small(tutor: Make) -> None:
    made = tutor(_script(_steps({"tool": "search_notes", "query": "LoRA"})), turns_kept=4)
    sizes = []
    for _ in range(24):
        made.ask("How does LoRA train a model?", thread="long")
        sizes.append(made.settings.threads.stat().st_size)
    state = made._state(made.threads.key("me", "long"))
    assert len(state["messages"]) <= 8 and state["summary"] == "The learner's exam is on 3 March."
    assert state["evidence"][0].startswith("lora.md:") and len(state["evidence"]) == 1
    assert sizes[-1] <= 2 * sizes[6]


def test_a_server_that_is_away_is_said_so(retriever: Retriever, settings: AgentSettings) -> None:
    away = ChatClient(Endpoint(base_url="http://127.0.0.1:9/v1", model="x", max_retries=0))
    made = Tutor(retriever, away, settings)
    with pytest.raises(ServingError, match="cannot be reached"):
        made.ask("How does LoRA train a model?", thread="t")
    assert made._state(made.threads.key("me", "t")).get("messages", []) == []


def test_messages_are_bounded(tutor: Make) -> None:
    made = tutor(_script("unused"))
    for text in ("", "  ", "x" * 9000):
        with pytest.raises(AgentError):
            made.ask(text)
