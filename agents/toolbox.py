"""The tools of a run: built in, dropped in, or an MCP server's, all as LangChain tools with flat schemas.

A tool of one's own is a file with functions under LangChain's `@tool` in a folder named by `tool_folders`; what it
returns as text becomes a source of the answer.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from agents.config import AgentSettings
from agents.errors import AgentError, ToolError
from agents.guard import without_orders
from agents.tools.finding import Finding

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    from agents.bank import Bank, Question
    from agents.learners import Learner
    from agents.run import Metered
    from rag.retriever import Retriever

MAX_RESULT_CHARS = 8000


@dataclass(frozen=True, slots=True)
class Desk:
    """What tools and sub-graphs work with: the notes, the learner, the questions, the model as far as the run's bounds go."""

    retriever: Retriever
    learner: Learner
    bank: Bank
    settings: AgentSettings
    open_question: Question | None = None
    conversation: str = ""
    client: Metered | None = None


def built_in(desk: Desk) -> list[BaseTool]:
    """The tutor's own tools. The first line of each docstring is what the model reads of it."""
    from agents import calculator, researcher
    from agents.examiner import single
    from agents.tools import gpu_memory as memory
    from agents.tools import notes, progress, quiz, run_python

    def search_notes(query: Annotated[str, "a standalone question or keywords"]) -> Finding:
        """look up passages of the study notes; for every question about a subject of the exam"""
        return researcher.research(desk, query)

    def open_note(title: Annotated[str, "the note's title"]) -> Finding:
        """show one whole note, when the learner asks to read a note by its title"""
        return notes.open_note(desk.retriever, title)

    def calculate(expression: Annotated[str, "arithmetic with units, like 7e9 * 2 B in GiB"]) -> Finding:
        """compute a number from numbers given in the message; no variables, B means bytes"""
        return calculator.solve(desk, expression)

    def gpu_memory(
        model: Annotated[str, "a model's name like llama-3-8b, or empty"] = "",
        billions: Annotated[float, "parameters in billions, when no model is named"] = 0,
        purpose: Literal["inference", "lora", "qlora", "full"] = "inference",
        bits: Annotated[int, "bits of a weight"] = 16,
        context: Annotated[int, "tokens of a sequence"] = 4096,
        batch: Annotated[int, "sequences at a time"] = 1,
    ) -> Finding:
        """GPU memory a whole model needs for inference or training, with weights, KV cache and optimizer"""
        return Finding(memory.gpu_memory(model, billions, purpose, bits, context, batch), final=True)

    def make_quiz(topic: Annotated[str, "the subject, or empty for any"] = "") -> Finding:
        """ask the learner a practice question, when they want to be quizzed or tested"""
        return quiz.make_quiz(desk.bank, desk.retriever, desk.learner, topic, partial(single.question_on, desk))

    def grade_answer(letters: Annotated[str, "the learner's choice, like B or A and D"]) -> Finding:
        """grade the learner's reply to the practice question asked before"""
        return quiz.grade_answer(desk.learner, desk.open_question, letters)

    def show_progress() -> Finding:
        """show the learner's own results so far: what is mastered and what was missed"""
        return progress.show_progress(desk.learner)

    def study_plan(days: Annotated[int, "days until the exam"] = 7) -> Finding:
        """make the learner a study plan for the days to come"""
        return progress.study_plan(desk.learner, days)

    def recall_conversation() -> Finding:
        """answer about what was said in this conversation or what the learner told about themself"""
        return Finding(desk.conversation or "nothing was said before")

    functions: list[Callable[..., Finding]] = [
        search_notes, open_note, calculate, gpu_memory, make_quiz, show_progress, study_plan,
    ]  # fmt: skip
    if desk.open_question:
        functions.append(grade_answer)
    if desk.conversation:
        functions.append(recall_conversation)
    if desk.settings.run_python:

        def run_python_code(code: Annotated[str, "a short Python program that prints its result"]) -> Finding:
            """run a small Python experiment, when the learner asks for one"""
            return Finding(run_python.run_python(code))

        functions.append(run_python_code)
    return [_tool(function) for function in functions]


def dropped_in(folders: Sequence[Path]) -> list[BaseTool]:
    """Tools of the files in these folders; AgentError names the file that cannot be read."""
    from langchain_core.tools import BaseTool

    found: list[BaseTool] = []
    for folder in folders:
        if not folder.is_dir():
            raise AgentError(f"tool_folders: {folder} is no folder")
        for path in sorted(folder.glob("[!_]*.py")):
            spec = importlib.util.spec_from_file_location(f"dropped_in_{path.stem}", path)
            if spec is None or spec.loader is None:
                raise AgentError(f"{path}: cannot be imported")
            module = importlib.util.module_from_spec(spec)
            try:
                spec.loader.exec_module(module)
            except Exception as error:  # whatever a stranger's file may raise
                raise AgentError(f"{path}: {type(error).__name__}: {error}") from error
            mine = [value for value in vars(module).values() if isinstance(value, BaseTool)]
            if not mine:
                raise AgentError(f"{path}: no function under @tool (from langchain_core.tools import tool)")
            found += mine
    return found


def schema(tool: BaseTool) -> dict[str, Any]:
    """The tool's arguments as a flat JSON schema for constrained decoding."""
    given = whole_schema(tool)
    keep = ("type", "enum", "items", "minimum", "maximum")
    return {
        name: {k: v for k, v in _plain(value, given).items() if k in keep}
        for name, value in given.get("properties", {}).items()
    }


def whole_schema(tool: BaseTool) -> Mapping[str, Any]:
    """The tool's arguments as its JSON schema, references and all."""
    made: Any = tool.tool_call_schema
    found: Mapping[str, Any] = made if isinstance(made, dict) else made.model_json_schema()
    return found


def call(tools: Mapping[str, BaseTool], name: str, arguments: Mapping[str, Any]) -> Finding:
    """What the tool brings back. ToolError, to be shown to the model, when it cannot do what it was asked."""
    from langchain_core.tools import ToolException
    from pydantic import ValidationError

    if name not in tools:
        raise ToolError(f"there is no tool {name!r}. Tools: {', '.join(tools)}")
    try:
        found = tools[name].invoke(dict(arguments))
    except (ToolError, ToolException) as error:
        raise ToolError(" ".join(str(error).split())) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise ToolError(f"{name}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if isinstance(found, Finding):
        return found
    text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, default=str)
    return Finding(without_orders(text)[:MAX_RESULT_CHARS])


def _tool(function: Callable[..., Finding]) -> BaseTool:
    from langchain_core.tools import StructuredTool

    return StructuredTool.from_function(function, name=function.__name__, description=function.__doc__)


def _plain(value: Mapping[str, Any], whole: Mapping[str, Any]) -> Mapping[str, Any]:
    """A property without references and without `null`."""
    if "$ref" in value:
        return _plain(whole["$defs"][value["$ref"].rsplit("/", 1)[-1]], whole)
    if "anyOf" in value:
        return _plain(next((v for v in value["anyOf"] if v.get("type") != "null"), {"type": "string"}), whole)
    return value
