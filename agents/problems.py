"""Worked problems, as templates over their numbers: what the calculator shows a model, and what training draws from."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.errors import AgentError
from core import files


@dataclass(frozen=True, slots=True)
class Worked:
    """A problem and the program that works it out; `{name}` in both stands for one of the values of `numbers`."""

    formula: str
    problem: str
    program: str
    numbers: Mapping[str, Sequence[Any]]

    def filled(self, draw: random.Random | None = None) -> tuple[str, str]:
        """Problem and program with the first value of each number, or with values drawn."""
        values = {name: draw.choice(of) if draw else of[0] for name, of in self.numbers.items()}
        return self.problem.format(**values), self.program.format(**values)


def read(path: Path) -> list[Worked]:
    """The problems of a JSON-lines file. AgentError names the bad line."""
    found = []
    for number, row in files.read_jsonl(path, AgentError):
        try:
            worked = Worked(row["formula"], row["problem"], row["program"], row["numbers"])
            worked.filled()
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            raise AgentError(f"{path}:{number}: no worked problem ({type(error).__name__}: {error})") from None
        found.append(worked)
    return found
