"""Serving speed by vLLM's own bench (`vllm bench serve`): TTFT, inter-token latency and tokens/s at several concurrencies.

Prompts are random tokens of the length of a grounded prompt; `$ an hour` turns tokens/s into the cost of 1,000 answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from core.errors import ConfigError
from eval.suite import Bench, Case, Row, Suite, metric
from eval.vllm_bench import bench as bench_serve
from eval.vllm_bench import random_prompts

PROMPT_TOKENS, ANSWER_TOKENS = 512, 64
CONCURRENCIES, QUICK = (1, 4, 16, 64), (1, 4)
_FIGURES = {
    "TTFT, median": "median_ttft_ms",
    "TTFT, p99": "p99_ttft_ms",
    "inter-token latency, median": "median_itl_ms",
    "inter-token latency, p99": "p99_itl_ms",
}


def cases(bench: Bench) -> list[Case]:
    """One for each concurrency."""
    chosen = bench.options.get("concurrencies") or (QUICK if bench.quick else CONCURRENCIES)
    return [{"id": f"c{n}", "group": f"concurrency {n}", "concurrency": int(n)} for n in chosen]


def prepare(bench: Bench) -> Callable[[Case], Row]:
    """Runs the bench at one concurrency."""
    card = bench.client.card()
    tokenizer = str((card.get("parent") and _parent_root(bench, str(card["parent"]))) or card.get("root") or "")
    if not Path(tokenizer).is_dir():
        raise ConfigError("the suite speed needs a model served from this machine's disk, for its tokenizer")

    def run(case: Case) -> Row:
        count = int(case["concurrency"])
        prompts = max(4, count * (2 if bench.quick else 4))
        told = bench_serve(
            bench.client.endpoint.base_url,
            bench.client.endpoint.model,
            Path(tokenizer),
            count,
            prompts,
            random_prompts(PROMPT_TOKENS, ANSWER_TOKENS),
            bench.seed,
        )
        scores: dict[str, float | None] = {name: float(told[key]) for name, key in _FIGURES.items()}
        scores["tokens/s written"] = float(told["output_throughput"])
        scores["failed requests"] = float(prompts - told["completed"])
        price = bench.options.get("price_per_hour")
        if price is not None:
            scores["cost of 1,000 answers"] = (
                1000 * ANSWER_TOKENS / float(told["output_throughput"]) / 3600 * float(price)
            )
        shown = {
            "question": f"{prompts} prompts of {PROMPT_TOKENS} tokens, {count} in flight",
            "answer": json.dumps(told)[:500],
        }
        return {"scores": scores, "shown": shown}

    return run


def _parent_root(bench: Bench, parent: str) -> str:
    return str(bench.client.asking(parent).card().get("root", ""))


SUITE = Suite(
    "speed",
    "Serving speed",
    f"Random prompts of {PROMPT_TOKENS} tokens, answers of {ANSWER_TOKENS}; the figures are means over the concurrencies, "
    "the groups show each.",
    (
        *(metric(name, better="lower", unit="ms", headline=name == "TTFT, median") for name in _FIGURES),
        metric("tokens/s written", unit="tokens/s", headline=True),
        metric("failed requests", better="lower"),
        metric("cost of 1,000 answers", better="lower", unit="$"),
    ),
    cases,
    prepare,
    lambda _: {"tokens/s written": 0.0, "failed requests": 1.0},
    frozenset({"model"}),
    repeats=True,
)
