"""A model card beside the adapter, written from the run's own record."""

from __future__ import annotations

import json
from pathlib import Path

from finetune import run


def write_card(folder: Path) -> None:
    """`adapter/README.md`: base, data, settings, figures; with the front matter the Hugging Face hub reads."""
    facts, settings = run.read(folder), run.settings_of(folder)
    history = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    evaluations = [row for row in history if "eval_loss" in row]
    names = [key for key in evaluations[-1] if key.startswith("eval_")] if evaluations else []
    lines = [
        "---",
        f"base_model: {settings.model_name_or_path}",
        "library_name: peft",
        "tags: [lora, nca-genl, genl-tutor]",
        "---",
        "",
        f"# {folder.name}",
        "",
        f"A {'QLoRA' if settings.load_in_4bit else 'LoRA'} adapter of rank {settings.lora_r} for "
        f"{settings.model_name_or_path}, trained with GenL Tutor.",
        "",
        f"- Data: {', '.join(map(str, settings.datasets))} (sha256 {facts['data_sha256'][:16]}…)",
        f"- Steps: {facts['steps']}, {facts['seconds']:.0f} s, peak memory {facts['peak_memory_bytes'] / 2**30:.2f} GiB",
        *([f"- Strength: {facts['strength']:g} of what was trained"] if "strength" in facts else []),
        f"- Best checkpoint by {settings.metric_for_best_model}: {facts['best_metric']}",
        f"- Seed {facts['seed']}, git commit {facts['git_commit'][:12] or 'unknown'}"
        + (" with local changes" if facts["git_changed"] else ""),
        f"- {', '.join(f'{k} {v}' for k, v in facts['libraries'].items())}",
        "",
        "All settings are in `settings.yaml` of the run. Limits: trained on study notes for one exam; it answers from the "
        "sources it is given and is no reference by itself.",
    ]
    if names:
        lines += ["", f"| step | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
        lines += [f"| {row['step']} | {' | '.join(f'{row[name]:.3f}' for name in names)} |" for row in evaluations]
        lines += ["", "![Curves](../curves.png)"]
    (folder / "adapter" / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
