"""One real page with one real vLLM and the 135M model behind it, for all tests that need no server of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from core.paths import ROOT
from serving.adapters import Adapter
from serving.client import ChatClient, Endpoint
from serving.vllm import recorded
from serving.weights import ensure
from tests import tiny
from tests.conftest import write_notes

MODEL = "smollm2-135m-instruct"


@pytest.fixture(scope="package")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The page's URL and the process behind it; its running state is this process's too."""
    folder = tmp_path_factory.mktemp("app")
    write_notes(folder / "notes")
    (folder / "notes" / "evil.md").write_text(
        "# Evil\n\n<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script> Evil widgets weigh 7 kg.\n"
    )
    _published(folder / "var")
    (folder / "agent.yaml").write_text("answers: {max_tokens: 96}\nlimits: {searches_again: 0}\n")
    command = [sys.executable, "-m", "app", "--model", MODEL, "--port", "0", "--corpus", str(folder / "notes")]
    command += ["--agent", str(folder / "agent.yaml")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENL_VAR", str(folder / "var"))
        child = subprocess.Popen(command, cwd=ROOT, env=os.environ.copy(), stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        line = child.stdout.readline()
        assert line.startswith("GenL Tutor: http://127.0.0.1:"), line
        yield line.split(": ", 1)[1].strip(), child
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 0


def _published(var: Path) -> None:
    """An adapter as an earlier `finetune publish` would have left it."""
    path = tiny.lora(ensure(MODEL), var / "adapters" / "other" / "v1", 1)
    row = asdict(Adapter("other", 1, MODEL, 8, str(path), "runs/other"))
    (var / "adapters" / "adapters.json").write_text(json.dumps({"other": {"active": 1, "versions": [row]}}))


@pytest.fixture
def client(app: tuple[str, subprocess.Popen[str]]) -> ChatClient:
    """A client of the page's model server, ready, asking the base."""
    deadline = time.monotonic() + 400
    while (running := recorded()) is None or not (
        found := ChatClient(Endpoint(base_url=running.url, model=MODEL))
    ).healthy():
        assert app[1].poll() is None and time.monotonic() < deadline
        time.sleep(0.5)
    return found


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's path."""
    names = (os.environ.get("GENL_CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on PATH. Get it: apt-get install chromium (or set GENL_CHROMIUM)")
    return found
