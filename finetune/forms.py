"""The forms in which a model is asked, alike in the training set and in the suites that measure what it learned."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from core.errors import DatasetError
from core.exam import LETTERS
from core.types import Chunk, Hit, Message, wire
from rag import prompts

EXAM = (
    "You are a study tutor for NVIDIA's NCA-GENL exam. Reply with the letter of the right option first, then say why "
    "in one to three sentences."
)
_OPTIONS = re.compile("^" + "\n".join(rf"{letter}\) .*" for letter in LETTERS) + "$", re.MULTILINE)


def exam_prompt(question: str, options: Sequence[str]) -> str:
    """A multiple-choice question as the model reads it."""
    return f"Question: {question}\n{option_lines(options)}\nAnswer with the letter first."


def option_lines(options: Sequence[str]) -> str:
    """Options with their letters, a line each."""
    return "\n".join(f"{letter}) {option}" for letter, option in zip(LETTERS, options, strict=True))


def exam_options(prompt: str) -> tuple[str, list[str], str]:
    """An exam prompt taken apart: what stands before its options, the options, what stands after. DatasetError if it has none."""
    found = _OPTIONS.search(prompt)
    if found is None:
        raise DatasetError(f"not an exam prompt: {prompt[-60:]!r}")
    return prompt[: found.start()], [line[3:] for line in found[0].split("\n")], prompt[found.end() :]


def source_blocks(chunks: Sequence[Chunk]) -> str:
    """Numbered sources, exactly as in the answering prompt."""
    return prompts.blocks(_hits(chunks), 1000)


def grounded(question: str, chunks: Sequence[Chunk], history: Sequence[Message] = ()) -> list[Message]:
    """The answering prompt over these sources."""
    return prompts.grounded(question, _hits(chunks), history, 1000)


def sample(name: str, kind: str, note: str, messages: Sequence[Message], reply: str) -> dict[str, Any]:
    """A row of the training set: the conversation as OpenAI messages, the reply last."""
    return {
        "id": name,
        "kind": kind,
        "note": note,
        "messages": [*wire(messages), {"role": "assistant", "content": reply}],
    }


def _hits(chunks: Sequence[Chunk]) -> list[Hit]:
    return [Hit(chunk, 0.0, rank, "given") for rank, chunk in enumerate(chunks, 1)]
