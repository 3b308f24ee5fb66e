"""Publishing to a live vLLM: loaded, asked, rolled back; a bad adapter changes nothing. Remembered over a crash: test_browser.py."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.errors import ServingError
from core.types import Message
from serving import adapters
from serving.client import ChatClient
from serving.weights import ensure
from tests import tiny
from tests.live.conftest import MODEL

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]


OTHER = "other-v1"  # published before the server was started


def _weighs(client: ChatClient, model: str) -> list[float]:
    """What a model makes of seven likely first tokens: a server's bfloat16 leaves three of them equal now and then.

    The second answer counts: a prompt read from the prefix cache is rounded otherwise than one computed whole.
    """
    choices = ["A", "B", "C", "The", "I", "You", "It"]
    for _ in range(2):
        found = client.asking(model).choose([Message("user", "Name a letter: A, B or C.")], choices)
    return [round(value, 2) for value in found.logprobs.values()]


def test_publish_and_roll_back(client: ChatClient, tmp_path: Path) -> None:
    base = _weighs(client, MODEL)
    first = adapters.publish("tutor", tiny.lora(ensure(MODEL), tmp_path / "one", 1), MODEL, "runs/one", client)
    assert client.models() == [MODEL, OTHER, "tutor-v1"]
    said = _weighs(client, "tutor-v1")
    assert said != base == _weighs(client, MODEL)

    second = adapters.publish("tutor", tiny.lora(ensure(MODEL), tmp_path / "two", 2), MODEL, "runs/two", client)
    assert client.models() == [MODEL, OTHER, "tutor-v2"] and Path(first.path).is_dir()
    assert _weighs(client, "tutor-v2") not in (base, said)

    # One that cannot be loaded: nothing changes.
    broken = shutil.copytree(tmp_path / "two", tmp_path / "broken")
    (broken / "adapter_model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(ServingError, match="tutor: not published, tutor-v2 stays in service"):
        adapters.publish("tutor", broken, MODEL, "runs/broken", client)
    assert client.models() == [MODEL, OTHER, "tutor-v2"] and not (Path(second.path).parent / "v3").exists()

    back = adapters.rollback("tutor", client)
    assert back == first and client.models() == [MODEL, OTHER, "tutor-v1"] and _weighs(client, "tutor-v1") == said
    assert adapters.rollback("tutor", client) is None and client.models() == [MODEL, OTHER]
    with pytest.raises(ServingError, match="no such adapter is published"):
        adapters.rollback("tutor", client)


def test_a_rank_above_the_running_servers_is_told_with_the_way_out(client: ChatClient, tmp_path: Path) -> None:
    with pytest.raises(ServingError, match=r"rank.*python -m serving start runs/wide"):
        adapters.publish("wide", tiny.lora(ensure(MODEL), tmp_path / "wide", 3, rank=64), MODEL, "runs/wide", client)
    assert client.models() == [MODEL, OTHER]
