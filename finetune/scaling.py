"""An adapter at a share of its strength: what lies between base and adapter forgets less of the base, and may do better.

Interpolating between the weights before and after fine-tuning is WiSE-FT (Wortsman et al., "Robust fine-tuning of
zero-shot models", 2022); for LoRA it is one factor, which peft and vLLM read from the adapter's config.
"""

from __future__ import annotations

import json
from pathlib import Path

from core import files
from core.errors import TrainingError
from finetune import run
from finetune.card import write_card

MOST = 2.0


def scale(folder: Path, share: float) -> float:
    """Sets a run's adapter to `share` of the strength it was trained at, however it was set before; its new lora_alpha.

    TrainingError where the share is not in (0, 2], or merged weights of another strength lie there.
    """
    adapter, settings = run.adapter_of(folder), run.settings_of(folder)
    if not 0 < share <= MOST:
        raise TrainingError(f"a share of {share:g}: must be above 0 and at most {MOST:g}; 1 is the adapter as trained")
    if (folder / "merged").exists():
        raise TrainingError(f"{folder}/merged: holds the adapter at its former strength. Remove it first")
    path = adapter / "adapter_config.json"
    alpha = settings.lora_alpha * share
    config = json.loads(path.read_text(encoding="utf-8")) | {"lora_alpha": int(alpha) if alpha == int(alpha) else alpha}
    files.write(path, json.dumps(config, indent=2, sort_keys=True))
    run.note(folder, {"strength": share})
    write_card(folder)
    return alpha
