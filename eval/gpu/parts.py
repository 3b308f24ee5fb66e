"""The parts there are: the module that measures each, and what it is given."""

from __future__ import annotations

PARTS: dict[str, tuple[str, ...]] = {
    "ceilings": ("ceilings",),
    "serving": ("serving", "plain"),
    "serving-lora": ("serving", "lora"),
    "serving-prefix": ("serving", "prefix"),
    "train-1.5B": ("training", "1.5B"),
    "train-1.5B-4bit": ("training", "1.5B", "4bit"),
    "train-7B": ("training", "7B"),
    "train-7B-4bit": ("training", "7B", "4bit"),
    "memory": ("memory",),
    "retrieval": ("retrieval",),
    "question": ("question",),
}
