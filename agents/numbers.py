"""Numbers of a text: those that a sum made up, and those of a problem that it left out. Pure functions."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"(?<![\w.])(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:[eE][+-]?\d+)?|(?<!\w)\.\d+")
_NO_DATA = {9.0, 10.0, 100.0, 1000.0, 1024.0, 1e6, 1e9, 1e12}  # of "10^9 bytes", "in 100", "1,024 bytes"
_SCALES = (1.0, 1e-3, 1e-2, 100.0, 1e3, 1e6, 1e9, 1e12)
_CONSTANTS = {0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 8.0, 12.0, 16.0, 24.0, 32.0, 60.0, 100.0, 365.0, 1000.0, 1024.0, 3600.0, 1e6, 1e9, 1e12}  # fmt: skip
WORDS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}


def groundless(expression: str, said: str) -> str:
    """The first number of a sum that the learner never gave and that is no usual constant; empty where there is none.

    Of a sum that holds constants alone it is the first of those: nobody asked for it.
    """
    given, found = _given(said), _NUMBER.findall(expression)
    others = [n for n in found if not any(_same(_float(n), g) for g in given)]
    nobodys = others[0] if others and len(others) == len(found) else ""
    return next((n for n in others if _float(n) not in _CONSTANTS), nobodys)


def unused(expression: str, problem: str) -> list[str]:
    """The numbers of a problem that a sum leaves out, usual constants apart."""
    taken = [_float(n) for n in _NUMBER.findall(expression)]
    numbers = dict.fromkeys(_NUMBER.findall(problem))
    return [n for n in numbers if not any(_same(t, _float(n)) for t in taken) and _float(n) not in _NO_DATA]


def bits_as_bytes(expression: str, problem: str) -> str:
    """A number that the problem gives in bits and the expression takes as bytes; empty where there is none."""
    in_bits = re.findall(r"(?<![\w.])(\d+(?:\.\d+)?)[ -]?bits?\b", problem, re.IGNORECASE)
    return next((n for n in in_bits if re.search(rf"\bbytes_\w+\s*=\s*{re.escape(n)}(?![\d.]|\s*/)", expression)), "")


def _given(said: str) -> set[float]:
    words = {float(n) for word, n in WORDS.items() if re.search(rf"\b{word}\b", said, re.IGNORECASE)}
    return words | {_float(n) for n in _NUMBER.findall(said)}


def _float(number: str) -> float:
    return float(number.replace(",", ""))


def _same(value: float, given: float) -> bool:
    """Whether a value is a given one, in per cent or with a prefix (kilo, million …) perhaps."""
    return any(abs(value - given * scale) <= 1e-9 * abs(value) for scale in _SCALES)
