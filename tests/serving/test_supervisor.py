"""Supervision with a small server for a child: crash, back-off, giving up, draining, dying with the parent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from core.errors import ServingError
from serving.registry import Machine
from serving.vllm import Supervisor, command, dtype, free_port, recorded

SERVER = """
import subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
if len(sys.argv) > 2:  # like vLLM, whose engine is a process of its own
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
class H(BaseHTTPRequestHandler):
    def do_GET(self): self.send_response(200); self.end_headers()
    def log_message(self, *a): pass
HTTPServer(("127.0.0.1", int(sys.argv[1])), H).serve_forever()
"""


def _child(_: Path, __: str, port: int, ___: Machine) -> tuple[list[str], dict[str, str]]:
    return [sys.executable, "-c", SERVER, str(port)], {}


def _with_engine(_: Path, __: str, port: int, ___: Machine) -> tuple[list[str], dict[str, str]]:
    return [sys.executable, "-c", SERVER, str(port), "engine"], {}


def _broken(_: Path, __: str, port: int, ___: Machine) -> tuple[list[str], dict[str, str]]:
    return [sys.executable, "-c", "print('no such weights'); raise SystemExit(3)"], {}


@pytest.fixture(autouse=True)
def var(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENL_VAR", str(tmp_path / "var"))


def test_a_killed_server_comes_back_and_stop_forgets_it(tmp_path: Path) -> None:
    supervisor = Supervisor("m", tmp_path, build=_child, shared=True, back_off_s=0.1)
    supervisor.start()
    supervisor.wait_ready(20)
    first = supervisor.status().pid
    found = recorded(["m"])
    assert found is not None and found.url == supervisor.url and recorded(["other"]) is None
    assert first is not None
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while supervisor.status().pid in (first, None) or supervisor.status().state != "ready":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    supervisor.stop()
    assert supervisor.status().state == "stopped" and recorded() is None


def test_a_server_for_the_occasion_leaves_the_shared_one_s_record_and_log(tmp_path: Path) -> None:
    shared, other = (Supervisor(name, tmp_path, build=_child, shared=name == "m") for name in ("m", "judge"))
    for supervisor in (shared, other):
        supervisor.start()
        supervisor.wait_ready(20)
    assert shared.log != other.log
    other.stop()
    found = recorded()
    assert found is not None and (found.model, found.url) == ("m", shared.url)
    shared.stop()


def test_it_gives_up_with_the_log_s_last_words(tmp_path: Path) -> None:
    supervisor = Supervisor("m", tmp_path, build=_broken, crashes=3, back_off_s=0.05)
    supervisor.start()
    with pytest.raises(ServingError, match=r"stopped 3 times, giving up\. Last lines of .*no such weights"):
        supervisor.wait_ready(30)


def test_nothing_outlives_a_killed_parent() -> None:
    code = (
        "import pathlib, time, tests.serving.test_supervisor as t\n"
        "s = t.Supervisor('m', pathlib.Path('.'), build=t._with_engine); s.start(); s.wait_ready(20)\n"
        "print(s.status().pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    server = psutil.Process(int(parent.stdout.readline()))
    family = [*psutil.Process(parent.pid).children(), *server.children()]
    assert len(family) >= 3  # server, its engine, the guard
    parent.kill()
    parent.wait()
    assert not psutil.wait_procs(family, timeout=10)[1], "a process outlived its parent"


def test_the_engine_of_a_killed_server_ends_too(tmp_path: Path) -> None:
    supervisor = Supervisor("m", tmp_path, build=_with_engine, back_off_s=0.1)
    supervisor.start()
    supervisor.wait_ready(20)
    server = psutil.Process(supervisor.status().pid)
    family = [server, *server.children()]
    assert len(family) == 2
    server.kill()
    assert not psutil.wait_procs(family, timeout=10)[1]
    supervisor.stop()


def test_a_busy_port_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServingError, match=f"port {port} is taken"):
            free_port(port)


def test_settings_follow_the_machine() -> None:
    old = Machine(2, 24, "", 0, frozenset({"avx2"}))
    new = Machine(16, 64, "", 0, frozenset({"avx2", "avx512f"}))
    gpu = Machine(16, 64, "H200", 140)
    assert [dtype(m) for m in (old, new, gpu)] == ["float32", "bfloat16", "bfloat16"]
    assert command(Path("w"), "smollm2-135m-instruct", 1, old)[1]["VLLM_CPU_KVCACHE_SPACE"] == "3"
    arguments, environment = command(Path("w"), "smollm2-135m-instruct", 1, gpu)
    assert "--gpu-memory-utilization" in arguments and "VLLM_CPU_KVCACHE_SPACE" not in environment
    assert arguments[arguments.index("--max-model-len") + 1] == "4096"
