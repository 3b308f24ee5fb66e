"""Training throughput against plain TRL, in one run on one device: `python -m finetune.benchmark --model NAME`.

Each contender trains the same conversations with the same LoRA for the same number of samples, in a process of its own
and in turns, several times over. What is compared is supervised, non-padding tokens per second: TRL's prompts are
masked as ours are (`assistant_only_loss` needs a template that marks the turns, so TRL gets prompt/completion rows,
whose loss it puts on the completion by itself). MFU counts 4 FLOPs a parameter and token (2 forward, 2 backward: the
frozen weights get no gradients) over the device's peak.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import files
from core.types import wire

if TYPE_CHECKING:
    import torch

CONTENDERS = ("ours", "trl-defaults", "trl-packing")
# Dense bfloat16 tensor-core FLOP/s by NVIDIA's data sheets.
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "RTX 4090": 165e12}

# hidden size, layers, attention heads, key-value heads, intermediate size, vocabulary: Qwen2.5's config.json, and a toy.
SHAPES = {
    "1.5B": (1536, 28, 12, 2, 8960, 151936),
    "7B": (3584, 28, 28, 4, 18944, 152064),
    "toy": (64, 2, 2, 1, 128, 50000),
}


def main() -> None:
    """Runs all contenders in turns and prints tokens/s, ratios and peak memory."""
    parser = argparse.ArgumentParser(prog="python -m finetune.benchmark", description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct", help="registry name or folder")
    parser.add_argument(
        "--random", choices=SHAPES, help="random weights of this shape instead, with the model's tokenizer"
    )
    parser.add_argument("--data", type=Path, default=Path("data/sft/train.jsonl"))
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--max-length", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--four-bit", action="store_true", help="QLoRA: the base in NF4, for all contenders")
    parser.add_argument("--one", choices=CONTENDERS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print("RESULT " + json.dumps(_one(args)))
        return
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    for number in range(args.rounds):
        for name in CONTENDERS:
            found = _in_process(name)
            rows[name].append(found)
            print(f"round {number + 1} {name}: {found}", flush=True)
    ours = sorted(r["tokens_per_s"] for r in rows["ours"])
    for name in CONTENDERS:
        rates = sorted(r["tokens_per_s"] for r in rows[name])
        middle = rates[len(rates) // 2]
        peak, mfu = max(r["peak_gib"] for r in rows[name]), sorted(r["mfu"] for r in rows[name])[len(rates) // 2]
        print(
            f"{name:14} {middle:8.1f} supervised tokens/s  ours ÷ this {ours[len(ours) // 2] / middle:5.2f}"
            f"  MFU {mfu:.1%}  peak {peak:.2f} GiB"
        )


def _in_process(name: str) -> dict[str, float]:
    ran = subprocess.run(
        [sys.executable, "-m", "finetune.benchmark", *sys.argv[1:], "--one", name], capture_output=True, text=True
    )
    lines = [line for line in ran.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise SystemExit(f"{name} failed:\n{ran.stderr[-2000:]}")
    found: dict[str, float] = json.loads(lines[-1].removeprefix("RESULT "))
    return found


def _one(args: argparse.Namespace) -> dict[str, float]:
    from finetune import commands, dataset, memory
    from finetune.config import FinetuneSettings
    from finetune.model import base_folder, choose_dtype, load_tokenizer

    commands._quiet()
    if args.one == "ours":
        memory.bound()  # as the command does
    settings = FinetuneSettings(
        model_name_or_path=args.model, datasets=(args.data,), val_size=0, max_samples=args.samples,
        max_length=args.max_length, per_device_train_batch_size=1, report_to=(), load_best_model_at_end=False,
        save_steps=10**6, eval_steps=10**6, output_dir=Path(tempfile.mkdtemp()), load_in_4bit=args.four_bit,
    )  # fmt: skip
    folder = random_weights(args.random, base_folder(args.model)) if args.random else base_folder(args.model)
    tokenizer = load_tokenizer(folder)
    split = dataset.load(settings, tokenizer)
    supervised, tokens = sum(sample.trained for sample in split.train), sum(map(len, split.train))
    seconds = (
        _ours(settings, folder, tokenizer, split)
        if args.one == "ours"
        else _trl(args, settings, folder, tokenizer, split)
    )
    return {
        "tokens_per_s": round(supervised / seconds, 2),
        "mfu": round(4 * _parameters(folder) * tokens / seconds / _peak(choose_dtype(settings)), 4),
        "peak_gib": round(memory.peak() / 2**30, 2),
    }


def _parameters(folder: Path) -> int:
    """Parameters of the base, from its shape."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    return sum(p.numel() for p in model.parameters())


def _peak(dtype: torch.dtype) -> float:
    """The device's peak FLOP/s: a data sheet's, or that of a large matrix product measured here in the dtype of training."""
    import torch

    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        for key, value in PEAKS.items():
            if key in name:
                return value
    return _matmul_flops(dtype)


def _matmul_flops(dtype: torch.dtype, windows: int = 5, seconds: float = 0.2) -> float:
    """FLOP/s of matrix products of 1024 a side on the device that trains: the best of several stretches of time."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    a, b = (torch.randn(1024, 1024, device=device).to(dtype) for _ in range(2))
    best = 0.0
    for _ in range(windows):
        done, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            a @ b
            if device == "cuda":
                torch.cuda.synchronize()
            done += 1
        best = max(best, done * 2 * 1024**3 / (time.perf_counter() - started))
    return best


def _ours(settings: Any, folder: Path, tokenizer: Any, split: Any) -> float:
    from finetune.model import attach, load_base
    from finetune.training import train

    settings.output_dir.mkdir(exist_ok=True)
    model = attach(load_base(settings, folder), settings)
    trainer = train(model, tokenizer, split, settings)
    return float(next(row["train_runtime"] for row in reversed(trainer.state.log_history) if "train_runtime" in row))


def _trl(args: argparse.Namespace, settings: Any, folder: Path, tokenizer: Any, split: Any) -> float:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers.utils import is_flash_attn_2_available, is_liger_kernel_available
    from trl import SFTConfig, SFTTrainer

    from finetune.model import choose_dtype

    rows = [
        {
            "prompt": wire(s.row.messages[:-1]),
            "completion": [{"role": "assistant", "content": s.row.messages[-1].content}],
        }
        for s in split.train
    ]
    best = args.one == "trl-packing"
    given: dict[str, Any] = {}
    if choose_dtype(settings) == torch.float32:
        given["bf16"] = False  # TRL's default, emulated on such a CPU: 100 times as slow, which would prove nothing
    if best:
        given |= {"packing": True, "per_device_train_batch_size": 1, "gradient_checkpointing": False}
    if best and torch.cuda.is_available():
        given |= {"use_liger_kernel": is_liger_kernel_available()}
        if is_flash_attn_2_available():
            given["model_init_kwargs"] = {"attn_implementation": "flash_attention_2"}
    if args.four_bit:
        from transformers import BitsAndBytesConfig

        quantized = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=choose_dtype(settings),
        )  # fmt: skip
        given["model_init_kwargs"] = given.get("model_init_kwargs", {}) | {"quantization_config": quantized}
    config = SFTConfig(
        output_dir=str(settings.output_dir), num_train_epochs=1, max_length=args.max_length, report_to="none",
        use_cpu=not torch.cuda.is_available(), save_strategy="no", disable_tqdm=True, **given,
    )  # fmt: skip
    lora = LoraConfig(
        r=settings.lora_r, lora_alpha=settings.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    trainer = SFTTrainer(
        model=str(folder),
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=lora,
    )
    started = time.perf_counter()
    trainer.train()
    return time.perf_counter() - started


def shaped(shape: str, vocabulary: int = 0) -> Any:
    """The config of a shape."""
    from transformers import LlamaConfig

    hidden, layers, heads, kv_heads, intermediate, words = SHAPES[shape]
    return LlamaConfig(
        vocab_size=max(words, vocabulary), hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, architectures=["LlamaForCausalLM"],
    )  # fmt: skip


def random_weights(shape: str, like: Path) -> Path:
    """A model of a shape with random weights, with the tokenizer of a real one; made once."""
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    folder = Path(tempfile.gettempdir()) / f"genl-random-{shape}-{like.name}"
    if not folder.exists():
        tokenizer = AutoTokenizer.from_pretrained(like)
        torch.manual_seed(0)
        # Drawn where it is quick: a CPU takes minutes for seven billion.
        with files.replacing(folder) as draft, torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            LlamaForCausalLM(shaped(shape, len(tokenizer))).to(torch.bfloat16).save_pretrained(draft)
            tokenizer.save_pretrained(draft)
    return folder


if __name__ == "__main__":
    main()
