"""One real vLLM with the 135M model for all tests that need no server of their own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from serving.client import ChatClient, Endpoint
from serving.vllm import Supervisor
from serving.weights import ensure

MODEL = "smollm2-135m-instruct"


@pytest.fixture(scope="package")
def supervisor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    """A supervised server, ready; its record and adapters are in a folder of the tests'."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENL_VAR", str(tmp_path_factory.mktemp("vllm")))
        made = Supervisor(MODEL, ensure(MODEL))
        made.start()
        try:
            made.wait_ready(400)
            yield made
        finally:
            made.stop()


@pytest.fixture
def client(supervisor: Supervisor) -> ChatClient:
    """A client of that server, asking the base."""
    supervisor.wait_ready(400)
    return ChatClient(Endpoint(base_url=supervisor.url, model=MODEL))


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's path."""
    names = (os.environ.get("GENL_CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on PATH. Get it: apt-get install chromium (or set GENL_CHROMIUM)")
    return found
