"""vLLM on the device: decoding against the memory's bandwidth, many requests against transformers, LoRA, prefix caching.

On a GPU the weights are dummies of the 1.5B's shape: speed does not depend on their values.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from core.errors import ServingError
from eval.gpu import ceilings
from eval.vllm_bench import bench, random_prompts
from serving.adapters import Adapter
from serving.registry import Machine
from serving.vllm import Supervisor, command
from serving.weights import ensure

SHAPE = "1.5B"
TOKENIZER = "smollm2-135m-instruct"  # embedded, so there is one on every machine
CONCURRENCIES, TOY = (1, 16, 64, 256), (1, 2)
PROMPT, ANSWER = 512, 128
PREFIX, SUFFIX, PREFIXES = 1536, 128, 8  # a system prompt with passages, and the question after it
RANK = 16


def measure(toy: bool, what: str) -> dict[str, float]:
    """Figures of one of the three servers."""
    folder = ensure(TOKENIZER) if toy else _shape()
    found = {"plain": _plain, "lora": _lora, "prefix": _prefix}[what](toy, folder)
    return {name: round(value, 4) for name, value in found.items()}


def _plain(toy: bool, folder: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    bandwidth = ceilings.copy_bytes(toy)
    count = 4 if toy else 64
    found[f"transformers' generate at {count}, tokens/s"] = _generate(folder, count, 16 if toy else ANSWER)
    started = time.perf_counter()
    with _served(toy, folder) as url:
        found["start, s"] = time.perf_counter() - started
        for n in TOY if toy else CONCURRENCIES:
            told = _bench(url, "shape", folder, n, toy)
            found[f"tokens/s at {n}"] = told["output_throughput"]
            found[f"TTFT at {n}, ms"] = told["median_ttft_ms"]
            found[f"inter-token latency at {n}, ms"] = told["median_itl_ms"]
            if n == 1:
                # Each token reads all weights once; a copy reads and writes.
                found["decode ÷ bandwidth"] = _bytes(folder) / (told["median_itl_ms"] / 1000) / bandwidth
        told = _bench(url, "shape", folder, count, toy)
        found[f"vLLM ÷ transformers at {count}"] = (
            told["output_throughput"] / found[f"transformers' generate at {count}, tokens/s"]
        )
    return found


def _lora(toy: bool, folder: Path) -> dict[str, float]:
    """Tokens/s by an adapter beside its base, over those of merged weights, which are a base without LoRA."""
    count = 2 if toy else 64
    with tempfile.TemporaryDirectory(prefix="genl-lora-") as place:
        adapter = Adapter("random", 0, str(folder), RANK, str(_random_adapter(folder, Path(place))), "random")
        with _served(toy, folder, lora=False) as url:
            merged = _bench(url, "shape", folder, count, toy)["output_throughput"]
        with _served(toy, folder, [adapter]) as url:
            beside = _bench(url, adapter.served_name, folder, count, toy)["output_throughput"]
    return {
        f"merged at {count}, tokens/s": merged,
        f"adapter at {count}, tokens/s": beside,
        "adapter ÷ merged": beside / merged,
    }


def _prefix(toy: bool, folder: Path) -> dict[str, float]:
    """Prompts that share long beginnings, as questions over the same passages do, with the cache and without."""
    found = {}
    mix = ["--dataset-name", "prefix_repetition", "--prefix-repetition-prefix-len", str(256 if toy else PREFIX),
           "--prefix-repetition-suffix-len", str(32 if toy else SUFFIX), "--prefix-repetition-num-prefixes", str(2 if toy else PREFIXES),
           "--prefix-repetition-output-len", str(8 if toy else 64)]  # fmt: skip
    for name, more in (("with", ()), ("without", ("--no-enable-prefix-caching",))):
        with _served(toy, folder, more=more) as url:
            told = _bench(url, "shape", folder, 2 if toy else 16, toy, mix)
        found[f"TTFT {name} prefix caching, ms"] = told["median_ttft_ms"]
        found[f"requests/s {name} prefix caching"] = told["request_throughput"]
    found["prefix caching, requests/s ratio"] = (
        found["requests/s with prefix caching"] / found["requests/s without prefix caching"]
    )
    return found


def _bench(
    url: str, model: str, tokenizer: Path, concurrency: int, toy: bool, mix: Sequence[str] = ()
) -> dict[str, Any]:
    """vLLM's own bench at one concurrency. ServingError where it, or any request, fails."""
    prompts = 2 * concurrency if toy else max(4, min(4 * concurrency, 512))
    usual = random_prompts(64, 8) if toy else random_prompts(PROMPT, ANSWER)
    found = bench(url, model, tokenizer, concurrency, prompts, mix or usual)
    if found["completed"] < prompts:
        raise ServingError(f"vllm bench serve: {prompts - found['completed']} of {prompts} requests failed")
    return found


@contextmanager
def _served(
    toy: bool, folder: Path, beside: Sequence[Adapter] = (), more: Sequence[str] = (), lora: bool | None = None
) -> Iterator[str]:
    def build(weights: Path, name: str, port: int, here: Machine) -> tuple[list[str], dict[str, str]]:
        arguments, environment = partial(command, beside=beside, lora=bool(beside) if lora is None else lora)(
            weights, name, port, here
        )
        dummy = [] if toy else ["--load-format", "dummy", "--max-num-seqs", "256"]
        return [*arguments, *dummy, *more], environment

    supervisor = Supervisor("shape", folder, build=build)
    supervisor.start()
    try:
        supervisor.wait_ready(400)
        yield supervisor.url
    finally:
        supervisor.stop()


def _generate(folder: Path, batch: int, tokens: int) -> float:
    """Tokens/s of transformers' batched generate, in a process of its own."""
    program = (
        "import sys, time, torch\n"
        "from transformers import AutoConfig, AutoModelForCausalLM\n"
        "folder, batch, tokens = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])\n"
        "device = 'cuda' if torch.cuda.is_available() else 'cpu'\n"
        "torch.set_default_dtype(torch.bfloat16 if device == 'cuda' else torch.float32)\n"
        "with torch.device(device):\n"
        "    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder)).eval()\n"
        f"prompt = torch.randint(5, 1000, (batch, {PROMPT} if device == 'cuda' else 64), device=device)\n"
        "def run(n):\n"
        "    with torch.inference_mode():\n"
        "        model.generate(prompt, attention_mask=torch.ones_like(prompt), min_new_tokens=n, max_new_tokens=n, do_sample=False, pad_token_id=0)\n"
        "run(2)\n"
        "if device == 'cuda': torch.cuda.synchronize()\n"
        "started = time.perf_counter(); run(tokens)\n"
        "if device == 'cuda': torch.cuda.synchronize()\n"
        "print('RATE', batch * tokens / (time.perf_counter() - started))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(folder), str(batch), str(tokens)], capture_output=True, text=True
    )
    lines = [line for line in ran.stdout.splitlines() if line.startswith("RATE ")]
    if not lines:
        raise ServingError(f"transformers' generate failed: {' '.join(ran.stderr.split())[-400:]}")
    return float(lines[-1].split()[1])


def _bytes(folder: Path) -> float:
    """Bytes of the weights as served: two a parameter on a GPU, four on a CPU that computes in float32."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    return float(sum(p.numel() for p in model.parameters()) * (2 if torch.cuda.is_available() else 4))


def _shape() -> Path:
    """A folder with the shape's config and a tokenizer, and no weights."""
    from transformers import AutoTokenizer

    from core import files
    from finetune.benchmark import shaped

    folder = Path(tempfile.gettempdir()) / f"genl-shape-{SHAPE}"
    if not folder.exists():
        tokenizer = AutoTokenizer.from_pretrained(ensure(TOKENIZER))
        with files.replacing(folder) as draft:
            shaped(SHAPE, len(tokenizer)).save_pretrained(draft)
            tokenizer.save_pretrained(draft)
    return folder


def _random_adapter(folder: Path, place: Path) -> Path:
    """A LoRA of random matrices for that shape."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        base = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.bfloat16)
        model = get_peft_model(
            base, LoraConfig(r=RANK, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
        )
    model.save_pretrained(str(place / "adapter"))
    return place / "adapter"
