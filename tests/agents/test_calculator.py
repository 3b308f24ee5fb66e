"""Programs of formulas: right by hand, nothing but arithmetic; and the sub-graph that has a model write them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents import numbers, problems
from agents.errors import ToolError
from agents.tools import formulas, program
from agents.tutor import Tutor
from core.paths import ROOT

Make = Callable[..., Tutor]


@pytest.mark.parametrize(
    ("name", "arguments", "value"),
    [
        ("weights_bytes", (8e9, 2), 16e9),
        ("weights_of_bits_bytes", (13e9, 4), 6.5e9),
        ("kv_cache_bytes", (32, 8, 128, 8192, 4), 2 * 32 * 8 * 128 * 8192 * 4 * 2),
        ("training_states_bytes", (7e9, 16, 8), 14e9),
        ("lora_parameters", (8, 4096, 4096, 32, 2), 4_194_304),
        ("training_flops", (1e9, 20e9), 1.2e20),
        ("training_seconds", (1e9, 20e9, 8, 100e12, 0.5), 3e5),
        ("decode_tokens_per_second", (16e9, 3.2e12), 200),
        ("ring_all_reduce_bytes", (8e9, 4), 12e9),
        ("requests_in_flight", (10, 1.5), 15),
        ("output_tokens_per_second", (32, 4, 100), 800),
        ("answer_seconds", (0.5, 0.02, 101), 2.5),
        ("vectors_bytes", (1e6, 768), 3.072e9),
        ("chunk_count", (1000, 300, 50), 4),
        ("effective_batch", (2, 8, 4), 64),
        ("f1_from_counts", (8, 2, 4), 16 / 22),
        ("f1_from_precision_and_recall", (0.5, 1), 2 / 3),
        ("specificity", (90, 10), 0.9),
        ("sample_size_per_arm", (0.10, 0.12), 3834),
        ("any_false_positive", (0.05, 2), 0.0975),
        ("cohens_kappa", (0.8, 0.5), 0.6),
        ("perplexity", (math.log(16),), 16),
        ("softmax_of_first", (0, 0, 0, 0), 0.25),
        ("entropy_bits", (0.25, 0.25, 0.5), 1.5),
        ("reciprocal_rank_mean", (1, 2, 4), 7 / 12),
        ("brevity_penalty", (8, 10), math.exp(-0.25)),
        ("word_error_rate", (2, 1, 1, 20), 0.2),
        ("amdahl_speedup", (0.9, 10), 1 / 0.19),
        ("standard_deviation", (2, 4, 6), 2),
        ("speculative_tokens_per_pass", (2, 0.5), 1.75),
        ("discounted_gain", (3, 0, 2), 4),
    ],
)
def test_formulas_by_hand(name: str, arguments: tuple[float, ...], value: float) -> None:
    assert formulas.FORMULAS[name](*arguments) == pytest.approx(value)
    assert formulas.line(name).startswith(f"{name}(") and formulas.line(name).count(": ") >= 1


def test_a_program_names_its_values_and_shows_their_units() -> None:
    lines = program.work(
        "weights = weights_bytes(parameters=8 * billion, bytes_each=BF16)  # bytes\n"
        "# the cache\n"
        "kv_cache_bytes(layers=32, kv_heads=8, head_dim=128, tokens=8,192)\n".replace("8,192", "8192")
        + "total = weights + kv_cache_bytes\nseconds = total / (500 * MB)  # s\nfits = total < 24 * GiB\nresult = total / GiB"
    )
    assert [each.name for each in lines] == ["weights", "kv_cache_bytes", "total", "seconds", "fits", "result"]
    assert program.shown(lines[0]) == "16,000,000,000 bytes (16 GB, 14.9012 GiB)"
    assert program.shown(lines[4]) == "yes" and "GiB" not in program.shown(lines[5])
    assert lines[5].value == pytest.approx((16e9 + 2**30) / 2**30)
    assert program.used(lines) == ["weights_bytes", "kv_cache_bytes"]
    assert program.work("x = kappa(observed=0.8, chance=0.5)")[0].value == pytest.approx(0.6)
    assert [each.name for each in program.live(program.work("a = 2\nb = 3\nc = b + 1\nd = c * 2"))] == ["b", "c", "d"]
    assert program.work("Here it is:\n```python\nx = 2 + 3\n```\nand so on")[-1].value == 5


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        ("", "empty"),
        ("the answer is twelve", "is not an assignment"),
        ("x = y * 2", "'y' has no value"),
        ("x = tokens_per_step(3)", "there is no formula 'tokens_per_step'"),
        ("x = perplexity()", "perplexity"),
        ("x = perplexity(nats=2)", "has no argument 'nats', it takes cross_entropy_nats"),
        ("x = 1 / 0", "divides by zero"),
        ("x = 9 ** 99999", "exponent"),
        ("x = perplexity(1e9)", "cannot be computed"),
        ("x = weights_bytes(parameters=7, bytes_each=2)", "single parameters"),
        ("x = vectors_bytes(vectors=5e6, dimensions=384, bytes_per_value=32)", "FP32 has 4"),
        ("x = any_false_positive(alpha=5, tests=20)", "between 0 and 1"),
        ("x = __import__('os').system('id')", "there is no formula '__import__'"),
        ("x = (1).__class__", "is not arithmetic"),
        ("x = [1, 2]", "is not arithmetic"),
        ("x = False", "is not arithmetic"),
        ("bytes_each = FP8\nx = bytes_each", "works nothing out"),
        ("\n".join(f"x{n} = {n}" for n in range(40)), "more than"),
    ],
)
def test_what_is_no_program_says_why(text: str, trouble: str) -> None:
    with pytest.raises(ToolError, match=trouble):
        program.work(text)


@given(st.text(alphabet="abxyz =+-*/().,0123456789#\n\"'[]{}:%<>", max_size=120))
def test_any_text_is_a_program_or_an_error(text: str) -> None:
    try:
        assert program.work(text)
    except ToolError as error:
        assert str(error)


def _writes(*programs: str) -> Callable[[dict[str, Any]], str]:
    """A model that writes one program after another, the last one again and again."""
    left = list(programs)

    def script(body: dict[str, Any]) -> str:
        assert "writing a short Python program" in body["messages"][0]["content"]
        return left.pop(0) if len(left) > 1 else left[0]

    return script


PROBLEM = "45 true positives, 15 false positives and 30 false negatives: how much is F1, as a decimal?"


def test_a_problem_in_words_is_worked_out_with_formulas(tutor: Make, understanding: dict[str, Any]) -> None:
    script = _writes("result = f1_from_counts(true_positives=45, false_positives=15, false_negatives=30)")
    made = tutor(script, **understanding)
    done = made.ask(PROBLEM)
    assert not done.answer.refused and "0.666667" in done.answer.text and "2 TP / (2 TP + FP + FN)" in done.answer.text
    assert done.trace.tools() == ["calculate"] and done.trace.count("model") == 2  # two that agree
    messages = made.requests[0]["messages"]  # type: ignore[attr-defined]
    assert messages[-1]["content"].startswith("Formulas:\n- ") and messages[-1]["content"].endswith(PROBLEM)
    assert [m["role"] for m in messages] == ["system", *["user", "assistant"] * 3, "user"]
    assert all(program.work(m["content"]) for m in messages if m["role"] == "assistant")


def test_every_worked_problem_works_and_uses_its_numbers() -> None:
    rows = problems.read(ROOT / "data" / "problems" / "worked.jsonl")
    assert len(rows) > 200 and {row.formula for row in rows} >= set(formulas.FORMULAS) - {"speculative_tokens_per_pass"}
    draw = random.Random(0)
    for row in rows:
        for problem, text in (row.filled(), row.filled(draw), row.filled(draw)):
            lines = program.work(text)
            assert not numbers.groundless(" ".join(each.expression for each in lines), problem), row
            assert row.formula in [*program.used(lines), ""], row


def test_a_number_left_out_or_made_up_is_sent_back_and_the_best_try_stands(
    tutor: Make, understanding: dict[str, Any]
) -> None:
    made = tutor(_writes("x = 45 / 60 * 77", "x = 45 / (45 + 15)", "x = 45", "x = 45 / (45 + 30)"), **understanding)
    done = made.ask(PROBLEM)
    told = [r["messages"][-1]["content"].split("Mind: ")[-1] for r in made.requests]  # type: ignore[attr-defined]
    assert "77 is no number" in told[1] and told[2].startswith("the problem also gives 30")
    assert "x: 0.75" in done.answer.text and done.trace.count("model") == 4  # the first with the fewest left out


def test_of_programs_that_use_every_number_the_result_that_most_share_stands(
    tutor: Make, understanding: dict[str, Any]
) -> None:
    wrong, right = "x = 45 * 15 / 30", "x = 2 * 45 / (2 * 45 + 15 + 30)"
    done = tutor(_writes(wrong, right, "x = 45 / (45 + 0.5 * (15 + 30))"), **understanding).ask(PROBLEM)
    assert "x: 0.666667" in done.answer.text and done.trace.count("model") <= 4


@pytest.mark.parametrize(
    ("expression", "found"),
    [("weights_bytes(parameters=70 * billion, bytes_each=4.127)", "4.127"), ("weights_bytes(parameters=7e9, bytes_each=4)", ""),
     ("weights_bytes(parameters=70 * billion, bytes_each=4.127 / 8)", ""), ("weights_of_bits_bytes(parameters=7e9, bits_each=4.127)", "")],
)  # fmt: skip
def test_bits_taken_as_bytes_are_seen(expression: str, found: str) -> None:
    assert numbers.bits_as_bytes(expression, "How much does a 70B base take at 4.127 bits per weight?") == found


def test_arithmetic_written_out_needs_no_model(tutor: Make, understanding: dict[str, Any]) -> None:
    done = tutor(_writes(), **understanding).ask("what is 7e9 * 2 bytes in GiB?")
    assert "13.0385" in done.answer.text and done.trace.count("model") == 0
