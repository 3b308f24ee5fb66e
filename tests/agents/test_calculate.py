"""Arithmetic: right by Python's own, units by hand, nothing but arithmetic, always an end."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.errors import ToolError
from agents.tools.calculate import calculate, quantity


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("7e9 * 2 B", "14 GB (13.0385 GiB)"),
        ("80GB in GiB", "74.5058 GiB"),
        ("1,000,000 * 3", "3,000,000"),
        ("1000 tokens / 20 s", "50 token / s"),
        ("200 tokens / (50 tokens/s)", "4 s"),
        ("900 GB / (3.35 TB/s)", "268.657 ms"),
        ("300 W * 24 h", "7.2 kWh"),
        ("2*0.8*0.6/(0.8+0.6)", "0.685714"),
        ("35 % of 80", "28"),
        ("7 billion * 2 bytes", "14 GB (13.0385 GiB)"),
        ("ceil(7.2) + log2(1024)", "18"),
        ("1 - 0.95^20 in %", "64.1514 %"),
        ("25 steps * 3.2 s", "80 s (1.33333 minutes)"),
    ],
)
def test_worked_by_hand(expression: str, value: str) -> None:
    assert calculate(expression).split(" = ", 1)[1] == value


@pytest.mark.parametrize(
    "expression",
    ["", "__import__('os').system('id')", "9**9**9", "(1).__class__", "x := 3", "[1, 2]", "lambda: 1", "1/0", "5 s + 3 GB",
     "12 parrots", "'a' * 9", "(1+", "1.5B * 2 bytes", "sqrt(-1)", "10**400", "1" * 301, "(" * 200 + "1" + ")" * 200],
)  # fmt: skip
def test_anything_else_is_refused(expression: str) -> None:
    with pytest.raises(ToolError):
        calculate(expression)


@given(st.recursive(
    st.integers(0, 999).map(str),
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
    max_leaves=8,
))  # fmt: skip
def test_agrees_with_python(expression: str) -> None:
    try:
        expected = float(eval(expression))
    except ZeroDivisionError:
        with pytest.raises(ToolError):
            quantity(expression)
        return
    assert math.isclose(quantity(expression).magnitude, expected, rel_tol=1e-9, abs_tol=1e-9)


@given(st.text(max_size=60))
def test_any_text_gives_a_value_or_an_error_the_model_can_read(text: str) -> None:
    try:
        calculate(text)
    except ToolError as error:
        assert str(error)
