"""Samples in the agent's own form: what to do next, and the calculator's programs."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from agents import calculator, decide, problems, toolbox
from agents.config import AgentSettings, Limits
from agents.tools import program
from agents.tools.formulas import FORMULAS
from agents.tools.gpu_memory import SHAPES
from finetune.forms import sample

if TYPE_CHECKING:
    from finetune.tutoring import Note

_FORMULAS = 6  # shown with a problem
_SUMS = (
    ("How many GB do the weights of a {a}B model take in {b}?", "{a}e9 * {bytes} B"),
    ("A GPU serves {n} requests in flight at {m} ms each. How many requests per second is that?", "{n} / {m} ms"),
    ("What is {n} times {m}?", "{n} * {m}"),
    ("precision {p} and recall {q}, what's F1?", "2 * {p} * {q} / ({p} + {q})"),
    ("How many parameters does a LoRA of rank {r} add to a {d} by {d} matrix?", "{r} * ({d} + {d})"),
    ("If training takes {n} steps of {m} seconds, how many hours is that?", "{n} * {m} s in hours"),
)
_MEMORY = (
    ("Does a QLoRA run of {model} fit into 24 GB?", {"purpose": "qlora"}),
    ("how much gpu memory for LoRA on {model} with sequences of {context} tokens", {"purpose": "lora", "context": 0}),
    ("What does it take to serve {model} in {bits} bit at {context} tokens?", {"purpose": "inference", "bits": 0, "context": 0}),
    ("Full fine-tuning of {model}: which GPU?", {"purpose": "full"}),
)  # fmt: skip
_PERSONAL = (
    "When did I say my exam is?", "Which subject did I call my weak one?", "What did we talk about first?",
    "Remind me what I told you about my background.", "How many hours a day did I say I can study?",
)  # fmt: skip
_TWO = ("{a} And {b}", "Two things: {a} {b}", "{a} Then tell me: {b}", "Compare the two: {a} {b}")


def decisions(notes: Sequence[Note], draw: random.Random) -> Iterator[dict[str, Any]]:
    """The agent's next steps over its own prompt: two searches, sums, memory, an opened note, what was said before."""
    for note in notes:
        questions = [row["question"] for row in note.rows if row["kind"] == "qa"]
        if len(questions) >= 2:
            pair = draw.sample(questions, 2)
            asked = draw.choice(_TWO).format(a=pair[0], b=pair[1][0].lower() + pair[1][1:])
            yield _decision(
                f"{note.name}#decide-two", note, asked, *({"tool": "search_notes", "query": q} for q in pair)
            )
        template, expression = draw.choice(_SUMS)
        precision, width = draw.choice((("FP32", 4), ("BF16", 2), ("FP16", 2), ("INT8", 1), ("INT4", 0.5)))
        given = {
            "a": draw.choice((1.5, 3, 7, 8, 13, 34, 70)), "b": precision, "bytes": width, "n": draw.randrange(2, 500),
            "m": draw.randrange(2, 500), "p": draw.randrange(50, 99) / 100, "q": draw.randrange(50, 99) / 100,
            "r": draw.choice((4, 8, 16, 32, 64)), "d": draw.choice((768, 1024, 2048, 4096)),
        }  # fmt: skip
        call = {"tool": "calculate", "expression": expression.format(**given)}
        yield _decision(f"{note.name}#decide-sum", note, template.format(**given), call)
        kind = draw.randrange(4)
        if kind == 0:
            asked, shape = draw.choice(_MEMORY)
            values: dict[str, Any] = {
                "model": draw.choice(sorted(SHAPES)),
                "context": draw.choice((2048, 4096, 8192, 32768)),
                "bits": draw.choice((4, 8, 16)),
            }
            call = {"tool": "gpu_memory", "model": values["model"], **{k: values.get(k, v) for k, v in shape.items()}}
            yield _decision(f"{note.name}#decide-memory", note, asked.format(**values), call)
        elif kind == 1:
            title = note.chunks[0].title
            yield _decision(
                f"{note.name}#decide-open", note, f"Open the note on {title}", {"tool": "open_note", "title": title}
            )
        elif kind == 2:
            yield _decision(f"{note.name}#decide-recall", note, draw.choice(_PERSONAL), {"tool": "recall_conversation"})


def _decision(name: str, note: Note, asked: str, *steps: Mapping[str, Any]) -> dict[str, Any]:
    reply = json.dumps({"steps": steps}, ensure_ascii=False, separators=(",", ":"))
    return sample(name, "decision", note.name, decide.prompt(asked, _tools(), Limits().plan_steps), reply)


@cache
def _tools() -> dict[str, Any]:
    """The agent's tools as it describes them in mid-conversation; none of them is run here."""
    desk = toolbox.Desk(None, None, None, AgentSettings(), conversation="so far")  # type: ignore[arg-type]
    return {tool.name: tool for tool in toolbox.built_in(desk)}


def programs(split: str, worked: Sequence[problems.Worked], draw: random.Random) -> Iterator[dict[str, Any]]:
    """The calculator's programs over its own prompt, with other numbers than those it shows; split by problem.

    Half of them come after worked problems, as they do in use; those are of the same split, of the same formula first.
    """
    mine = [w for w in worked if _split_of_problem(w) == split]
    for number, each in enumerate(mine):
        problem, text = each.filled(draw)
        others = [w for w in mine if w is not each]
        draw.shuffle(others)
        others.sort(key=lambda w: w.formula != each.formula)
        examples = [w.filled(draw) for w in reversed(others[: 2 * draw.randrange(2)])]
        called = program.used(program.work(text))
        names = [*called, *draw.sample([f for f in FORMULAS if f not in called], _FORMULAS - len(called))]
        draw.shuffle(names)
        messages = calculator.prompt(problem, names, examples)
        yield sample(f"problems#{split}-{number}", "program", f"problems/{split}", messages, text)


def _split_of_problem(worked: problems.Worked) -> str:
    """About one problem in seven tests, one in twelve validates."""
    place = int(hashlib.sha256(worked.problem.encode()).hexdigest(), 16) % 84
    return "test" if place < 12 else "validation" if place < 19 else "train"
