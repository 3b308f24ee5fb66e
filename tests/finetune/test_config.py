"""Flat settings: strict, and aware of what other trainers call them."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.config import load
from core.errors import ConfigError
from finetune.config import CONFIGS, EmbedderSettings, FinetuneSettings, find_config, unservable
from finetune.sweep import SweepSettings, check

SWEEPS, EMBEDDER = {CONFIGS / "sweep.yaml"}, CONFIGS / "embedder.yaml"


@pytest.mark.parametrize("path", sorted(set(CONFIGS.glob("*.yaml")) - SWEEPS - {EMBEDDER}), ids=lambda p: p.name)
def test_every_config_of_ours_loads_and_can_be_served(path: Path) -> None:
    settings = load(FinetuneSettings, path)
    assert unservable(settings) == []
    assert find_config(path.name) == path


def test_the_embedders_config_is_for_its_own_command() -> None:
    assert load(EmbedderSettings, EMBEDDER).datasets == (Path("data/pairs"),)
    with pytest.raises(ConfigError, match="python -m finetune embedder"):
        load(FinetuneSettings, EMBEDDER)


@pytest.mark.parametrize("path", sorted(SWEEPS), ids=lambda p: p.name)
def test_every_sweep_of_ours_draws_settings_there_are(path: Path) -> None:
    settings = load(SweepSettings, path)
    check(settings)
    assert settings.trials > 1


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("cutoff_len=512", "cutoff_len is max_length here"),
        ("sequence_len=512", "sequence_len is max_length here"),
        ("lora_rank=8", "lora_rank is lora_r here"),
        ("micro_batch_size=2", "micro_batch_size is per_device_train_batch_size here"),
        ("learning_rat=1", "unknown key learning_rat, did you mean learning_rate"),
        ("learning_rate=fast", "learning_rate: "),
        ("lora_r=0", "lora_r: "),
        ("save_steps=7", "must be a multiple of eval_steps"),
        ("datasets=[]", "datasets: "),
        ("bnb_4bit_quant_type=int3", "bnb_4bit_quant_type: "),
        ("max_length", "overrides are written key=value"),
    ],
)
def test_a_mistake_is_told_in_one_line(override: str, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(FinetuneSettings, find_config("lora.yaml"), [override])
    assert says in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 300


def test_what_vllm_would_refuse_is_said_before_training() -> None:
    settings = FinetuneSettings(use_dora=True, lora_r=1024)
    assert len(unservable(settings)) == 2


def test_an_unknown_config_lists_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"nothing\.yaml: no such config.*lora\.yaml.*qlora\.yaml"):
        find_config("nothing.yaml")
