"""What serving an adapter costs: tokens/s of the base, of base and adapter, and of the merged weights, by real vLLM."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from core.errors import TrainingError
from core.types import Message
from finetune.merging import merge
from serving.client import ChatClient, Endpoint

_PROMPT = "Explain, step by step and in detail, how number {} of the layers of a transformer works on a GPU."


def measure(folder: Path, requests: int = 16, tokens: int = 64, concurrency: int = 8, rounds: int = 3) -> None:
    """Prints written tokens/s, round by round: base and adapter by a server with LoRA enabled, merged weights by one without.

    Each server is started for the occasion; the run is merged first where that was not done.
    """
    from serving.adapters import of_run
    from serving.connect import beside, locate
    from serving.vllm import Supervisor, command, wait_with_progress

    adapter = of_run(folder)
    if adapter is None:
        raise TrainingError(f"{folder}: not a run folder")
    merged = folder / "merged"
    if not merged.exists():
        merge(folder)
    name, weights = locate(adapter.base)
    middle: dict[str, float] = {}
    for label, supervisor, asked in (
        ("with LoRA", Supervisor(name, weights, build=beside(adapter)), [name, adapter.served_name]),
        ("merged, without LoRA", Supervisor("merged", merged, build=partial(command, lora=False)), ["merged"]),
    ):
        supervisor.start()
        try:
            wait_with_progress(supervisor)
            client = ChatClient(Endpoint(base_url=supervisor.url, model=name))
            rates: dict[str, list[float]] = {model: [] for model in asked}
            for model in asked * rounds:  # in turns, so that a noisy minute falls on all
                rates[model].append(_rate(client.asking(model), requests, tokens, concurrency))
        finally:
            supervisor.stop()
        for model, found in rates.items():
            middle[model] = sorted(found)[len(found) // 2]
            print(f"{model} ({label}): {middle[model]:.1f} tokens/s of {', '.join(f'{r:.1f}' for r in found)}")
    print(f"adapter ÷ merged: {middle[adapter.served_name] / middle['merged']:.2f}")


def _rate(client: ChatClient, requests: int, tokens: int, concurrency: int) -> float:
    def one(number: int) -> int:
        return client.complete([Message("user", _PROMPT.format(number))], max_tokens=tokens).usage.completion_tokens

    with ThreadPoolExecutor(concurrency) as pool:
        list(pool.map(one, range(2)))  # warm
        started = time.perf_counter()
        written = sum(pool.map(one, range(requests)))
        return written / (time.perf_counter() - started)
