"""`models.yaml` as values, and names resolved: a registry name, or a folder of weights."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from core.config import Settings, parse
from core.errors import ConfigError


class Source(Settings):
    """One place that delivers a model: a hub repository, or wheels of a package index."""

    hub: str | None = None
    mirror: str | None = None
    version: str = ""
    parts: int = 0
    folder: str = ""


class ModelEntry(Settings):
    """One model of the registry; see the head of models.yaml. `context` is in tokens, `bytes` the download."""

    kind: Literal["chat", "embedder", "cross-encoder"]
    licence: str
    sources: tuple[Source, ...] = ()
    convert: Literal["gguf", "w8a8"] | None = None
    base: str | None = None
    context: int = 0
    file: str = ""
    bytes: int = 0
    sha256: dict[str, str] = Field(default_factory=dict)
    gpu: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """What this machine offers. Sizes in GiB; `gpu` is the first GPU's name, or empty."""

    cores: int
    memory_gib: float
    gpu: str
    gpu_memory_gib: float
    cpu_flags: frozenset[str] = frozenset()


@cache
def models() -> dict[str, ModelEntry]:
    """The registry, in file order."""
    import yaml

    path = Path(__file__).with_name("models.yaml")
    rows = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {name: parse(ModelEntry, row, where=f"{path.name}: {name}") for name, row in rows.items()}


def resolve(name: str) -> ModelEntry:
    """A model by its name; ConfigError with the nearest name otherwise."""
    if name in models():
        return models()[name]
    near = difflib.get_close_matches(name.lower(), models(), n=1)
    raise ConfigError(
        f"unknown model {name!r}{f', did you mean {near[0]}?' if near else ''}. "
        f"Known: {', '.join(models())}; a folder of weights or an http:// endpoint also serves"
    )


def machine() -> Machine:
    """Cores, memory and GPU, without loading torch."""
    import os
    import subprocess

    import psutil

    try:
        asked = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
        first = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout.splitlines()[0]
        gpu, mib = (part.strip() for part in first.rsplit(",", 1))
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        gpu, mib = "", "0"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory_gib = psutil.virtual_memory().total / 2**30
    return Machine(cores, memory_gib, gpu, float(mib) / 1024, _cpu_flags())


def _cpu_flags() -> frozenset[str]:
    """Instruction-set flags as Linux names them; none elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(
        next((line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))), "").split()
    )


def default_chat_model() -> str:
    """The model a machine starts with: 8B on a GPU that holds it, else the 1.5B (docs/serving.md has the figures)."""
    here = machine()
    return "qwen3-8b" if here.gpu and here.gpu_memory_gib >= 22 else "qwen2.5-coder-1.5b-instruct"
