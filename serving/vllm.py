"""vLLM as a supervised child: settings from the machine, start, restart after a crash, drain on stop."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from core import files
from core.errors import ServingError
from core.paths import var_dir
from serving.adapters import Adapter
from serving.adapters import arguments as adapters_of
from serving.registry import Machine, machine, models

State = Literal["starting", "ready", "restarting", "failed", "stopped"]
DRAIN_S = 30


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """How the server is: `since` is Unix time of the last change, `detail` one line for people."""

    state: State
    detail: str
    url: str
    model: str
    pid: int | None
    since: float


def command(
    folder: Path, name: str, port: int, here: Machine, beside: Sequence[Adapter] = (), lora: bool = True
) -> tuple[list[str], dict[str, str]]:
    """vLLM's command line and environment for weights on a machine, with the published adapters and those `beside`.

    Without `lora` no adapter can be served, now or later.

    On a CPU the KV cache gets an eighth of the memory, 1 to 4 GiB, and one core stays free where there are four or
    more; on a GPU vLLM takes 85 % of its memory, which leaves room for the embedder.
    """
    entry = models().get(name)
    context = entry.context if entry and entry.context else 8192
    arguments = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    arguments += ["--model", str(folder), "--served-model-name", name, "--host", "127.0.0.1", "--port", str(port)]
    arguments += ["--max-model-len", str(context), "--dtype", dtype(here), "--enable-prefix-caching"]
    arguments += ["--shutdown-timeout", str(DRAIN_S), "--max-logprobs", "20"]
    # A small model can write white space for ever inside JSON: none is allowed there.
    arguments += ["--structured-outputs-config", json.dumps({"backend": "xgrammar", "disable_any_whitespace": True})]
    adapters, allowed = adapters_of(name, beside) if lora else ([], {})
    arguments += adapters
    environment = allowed | {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_LOGGING_LEVEL": "INFO",
    }
    if here.gpu:
        arguments += ["--gpu-memory-utilization", "0.85"]
    else:
        kv_gib = int(min(4, max(1, here.memory_gib / 8)))
        cores = sorted(os.sched_getaffinity(0))[: here.cores - 1 if here.cores >= 4 else here.cores]
        environment |= {"VLLM_CPU_KVCACHE_SPACE": str(kv_gib), "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cores))}
        # Compiling costs 40 s at every first start and gains little at batch sizes a learner has.
        arguments += ["--max-num-seqs", "8", "--max-num-batched-tokens", "2048", "--enforce-eager"]
        # Prefixes are kept by whole blocks, and vLLM's 128 tokens on a CPU are as long as many a prompt here.
        arguments += ["--block-size", "32"]
    return arguments, environment


def dtype(here: Machine) -> str:
    """bfloat16 where the hardware multiplies it; float32 on CPUs without AVX-512, where bfloat16 is emulated.

    Measured on a 2-core AVX2 machine (docs/serving.md): float32 reads a prompt over six times as fast.
    """
    return "bfloat16" if here.gpu or "avx512f" in here.cpu_flags or "asimd" in here.cpu_flags else "float32"


def free_port(wanted: int = 0) -> int:
    """A free loopback port: the wanted one, or any for 0. ServingError when the wanted one is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            raise ServingError(f"port {wanted} is taken. Choose another with --port, or 0 for any") from None
        return int(probe.getsockname()[1])


def record_path() -> Path:
    """Where the running server is written down, for other commands to find."""
    return var_dir() / "serving.json"


class Supervisor:
    """Keeps one model server running. `start` returns at once; `status` and `wait_ready` say how it goes.

    A `shared` one is written down for other commands to find; one started for an occasion leaves that record alone.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        port: int = 0,
        *,
        build: Callable[[Path, str, int, Machine], tuple[list[str], dict[str, str]]] = command,
        shared: bool = False,
        crashes: int = 4,
        within_s: float = 300,
        back_off_s: float = 1.0,
    ) -> None:
        self.name, self.folder = name, folder
        self.port = free_port(port)
        self._command, self._shared = build, shared
        self._crashes: deque[float] = deque(maxlen=crashes)
        self._within_s, self._back_off_s = within_s, back_off_s
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._status = ServerStatus("stopped", "not started", self.url, name, None, time.time())

    @property
    def url(self) -> str:
        """The OpenAI-compatible base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def log(self) -> Path:
        """The child's output, current start only; the one before is beside it as `.1`."""
        return var_dir() / "logs" / f"vllm-{self.name}.log"

    def start(self) -> None:
        """Starts supervising in the background."""
        self._set("starting", f"{self.name} is starting")
        self._thread = threading.Thread(target=self._supervise, name="vllm-supervisor", daemon=True)
        self._thread.start()

    def status(self) -> ServerStatus:
        """The present state."""
        with self._lock:
            return self._status

    def wait_ready(self, timeout_s: float = 600) -> None:
        """Returns when the server answers; ServingError when it gave up, was stopped, or the time is over."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            status = self.status()
            if status.state == "ready":
                return
            if status.state in ("failed", "stopped"):
                raise ServingError(status.detail)
            time.sleep(0.1)
        raise ServingError(f"{self.name}: not ready after {timeout_s:.0f} s. See {self.log}")

    def stop(self) -> None:
        """Lets requests in flight finish, then ends the child. Safe to call twice."""
        self._stop.set()
        child = self._child
        if child is not None and child.poll() is None:
            child.terminate()
            try:
                child.wait(DRAIN_S + 10)
            except subprocess.TimeoutExpired:
                _kill_group(child)
        if self._thread is not None:
            self._thread.join(timeout=15)
        self._set("stopped", f"{self.name} was stopped")

    def _supervise(self) -> None:
        while not self._stop.is_set():
            try:
                child = self._spawn()
            except OSError as error:
                self._set("failed", f"{self.name}: cannot start the engine ({error})")
                return
            self._watch(child)
            _kill_group(child)  # an engine process may outlive the API server that was killed
            self._dismiss_guard()
            if self._stop.is_set():
                return
            self._crashes.append(time.monotonic())
            if len(self._crashes) == self._crashes.maxlen and self._crashes[-1] - self._crashes[0] < self._within_s:
                self._set("failed", f"{self.name} stopped {len(self._crashes)} times, giving up. {self._last_words()}")
                return
            pause = min(30.0, self._back_off_s * 2 ** (len(self._crashes) - 1))
            self._set(
                "restarting", f"{self.name} stopped unexpectedly (exit {child.returncode}): restarting in {pause:.0f} s"
            )
            self._stop.wait(pause)

    def _spawn(self) -> subprocess.Popen[bytes]:
        arguments, environment = self._command(self.folder, self.name, self.port, machine())
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.1"))
        # Nothing may outlive us, even if we are killed with -9.
        parent = os.getpid()
        with self.log.open("wb") as log:
            child = subprocess.Popen(
                arguments,
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: _die_with(parent),
            )
        self._child = child
        # The signal above reaches the API server, not the engine it starts: those end with this pipe, at our end too.
        self._guard = subprocess.Popen(
            ["sh", "-c", f"read -r done || kill -s KILL -- -{child.pid}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return child

    def _dismiss_guard(self) -> None:
        if self._guard is not None:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                self._guard.communicate(b"done\n", timeout=5)
            self._guard = None

    def _watch(self, child: subprocess.Popen[bytes]) -> None:
        """Returns when the child has ended."""
        if self.status().state != "starting":
            self._set("restarting", f"{self.name} is starting again", child.pid)
        while child.poll() is None:
            if self.status().state != "ready" and _answers(self.port):
                self._crashes.clear()
                self._set("ready", f"{self.name} is ready", child.pid)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(0.5)

    def _set(self, state: State, detail: str, pid: int | None = None) -> None:
        with self._lock:
            self._status = ServerStatus(state, detail, self.url, self.name, pid, time.time())
            if not self._shared:
                return
            path = record_path()
            with contextlib.suppress(OSError):
                if state in ("stopped", "failed"):
                    if _recorded_pid(path) == os.getpid():
                        path.unlink(missing_ok=True)
                    return
                files.write(path, json.dumps(asdict(self._status) | {"supervisor": os.getpid()}))

    def _last_words(self, lines: int = 5) -> str:
        try:
            text = self.log.read_text(errors="replace").splitlines()
        except OSError:
            text = []
        tail = " | ".join(line.strip() for line in text[-lines:] if line.strip())
        return f"Last lines of {self.log}: {tail}"


def wait_with_progress(supervisor: Supervisor, timeout_s: float = 600) -> None:
    """`wait_ready` with the seconds counted on stderr where that is a terminal."""
    started = time.monotonic()
    print(f"starting {supervisor.name} (about a minute on a CPU; log: {supervisor.log})", file=sys.stderr, flush=True)
    while supervisor.status().state not in ("ready", "failed", "stopped") and time.monotonic() - started < timeout_s:
        if sys.stderr.isatty():
            print(f"\r  {time.monotonic() - started:4.0f} s", end="", file=sys.stderr, flush=True)
        time.sleep(0.5)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    supervisor.wait_ready(timeout_s=1)


def _answers(port: int) -> bool:
    import httpx

    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(10)


def _die_with(parent: int) -> None:
    """In the child, before exec: ask Linux for SIGKILL when the parent thread's process goes."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)


def _recorded_pid(path: Path) -> int | None:
    try:
        return int(json.loads(path.read_text())["supervisor"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def recorded(names: Sequence[str] = ()) -> ServerStatus | None:
    """The server another process keeps running, when its supervisor lives and it serves one of `names` (any if none)."""
    try:
        row = json.loads(record_path().read_text())
        supervisor = int(row.pop("supervisor"))
        status = ServerStatus(**row)
        os.kill(supervisor, 0)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return status if not names or status.model in names else None
