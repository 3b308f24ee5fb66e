"""A merged copy says what base and adapter say; a wrong merge is not kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from core.errors import TrainingError
from finetune import merging
from tests.finetune.test_training import _train


@pytest.fixture(scope="module")
def trained(chat_model: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "short"
    ran = _train(chat_model, rows, out, "max_steps=4")
    assert ran.returncode == 0, ran.stderr
    return out


def test_merged_weights_answer_as_base_and_adapter(trained: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, worst = merging.merge(trained)
    assert worst < merging.LIMIT
    merged, base = (
        AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32) for path in (folder, _base(trained))
    )
    ids = AutoTokenizer.from_pretrained(folder)("LoRA freezes the base model", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert (merged(ids).logits - base(ids).logits).abs().max() > 0.01  # the adapter is in there
    with pytest.raises(TrainingError, match="already there"):
        merging.merge(trained)


def test_a_merge_that_disagrees_is_not_kept(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "LIMIT", 0.0)
    with pytest.raises(TrainingError, match="disagree"):
        merging.merge(trained, tmp_path / "merged")
    assert list(tmp_path.iterdir()) == []


def test_a_scaled_adapter_lies_between_base_and_adapter(trained: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from finetune.scaling import scale

    run = tmp_path / "run"
    shutil.copytree(trained, run, ignore=shutil.ignore_patterns("merged"))

    def weight() -> torch.Tensor:
        base = AutoModelForCausalLM.from_pretrained(_base(run), dtype=torch.float32)
        return (
            PeftModel.from_pretrained(base, str(run / "adapter")).merge_and_unload().model.layers[0].mlp.up_proj.weight
        )

    whole = weight()
    base = AutoModelForCausalLM.from_pretrained(_base(run), dtype=torch.float32).model.layers[0].mlp.up_proj.weight
    for _ in range(2):  # a share of what was trained, not of what it is
        scale(run, 0.25)
        assert torch.allclose(weight() - base, 0.25 * (whole - base), atol=1e-6) and not torch.equal(whole, base)
    assert "Strength: 0.25" in (run / "adapter" / "README.md").read_text()
    scale(run, 1)
    assert torch.equal(weight(), whole)
    with pytest.raises(TrainingError, match="above 0"):
        scale(run, 0)
    (run / "merged").mkdir()
    with pytest.raises(TrainingError, match="former strength"):
        scale(run, 0.5)


def test_an_unfinished_run_says_how_to_go_on(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text((trained / "settings.yaml").read_text())
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(TrainingError, match=r"has no finished adapter yet.*--config"):
        merging.merge(tmp_path)
    with pytest.raises(TrainingError, match="not a run folder"):
        merging.merge(tmp_path / "nowhere")


def _base(run: Path) -> str:
    from finetune.run import settings_of

    return settings_of(run).model_name_or_path
