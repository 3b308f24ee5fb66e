"""`python -m app`: the notes indexed, the model started, the page served, one URL printed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from core.cli import Parser, run
from core.config import load
from core.errors import ConfigError

if TYPE_CHECKING:
    from argparse import Namespace

    from app.config import AppSettings

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def main() -> None:
    """Parses the command line and serves until Ctrl-C or SIGTERM."""
    parser = Parser(prog="python -m app", description=__doc__)
    parser.add_argument(
        "--model",
        metavar="NAME|DIR|RUN|URL",
        help="registry name, folder of weights, fine-tuning run or adapter, or OpenAI-compatible endpoint",
    )
    parser.add_argument("--index", type=Path, metavar="DIR", help="default var/index")
    parser.add_argument("--corpus", type=Path, metavar="DIR", help="the notes; default data/corpus")
    parser.add_argument(
        "--agent", type=Path, metavar="FILE", help="YAML of the agent's settings: bounds, tools, MCP servers"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="default 127.0.0.1, this machine only; any other needs --auth"
    )
    parser.add_argument("--port", type=int, default=7860, help="default 7860; 0 takes any free one")
    parser.add_argument(
        "--auth", action="append", default=[], metavar="USER:PASSWORD", help="ask for a login; repeatable"
    )
    args = parser.parse_args()
    serve(settings(args))


def settings(args: Namespace) -> AppSettings:
    """The command line as settings; ConfigError for what cannot be meant."""
    from agents.config import AgentSettings
    from app.config import AppSettings

    pairs = [tuple(pair.split(":", 1)) for pair in args.auth]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise ConfigError("--auth is written USER:PASSWORD")
    if args.host not in LOOPBACK and not pairs:
        raise ConfigError(f"--host {args.host} opens the page to others: add --auth USER:PASSWORD")
    load(AgentSettings, args.agent)  # a mistake in it is said before anything starts
    given = {"model": args.model, "index": args.index, "corpus": args.corpus, "agent": args.agent}
    return AppSettings(
        host=args.host, port=args.port, auth=tuple(pairs), **{k: v for k, v in given.items() if v is not None}
    )


def serve(chosen: AppSettings) -> None:
    """Runs the page. The port is checked first: it is the cheapest thing that can be wrong."""
    import os
    import signal
    import threading

    port = _free(chosen.host, chosen.port)
    # Nothing of the page may come from, or report to, another machine.
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_SSR_MODE": "False"}
    from app.handlers import Handlers
    from app.service import Service, build_index
    from serving.connect import beside, is_url, locate, remote, target
    from serving.vllm import Supervisor

    url = chosen.model if is_url(chosen.model) else (os.environ.get("GENL_BASE_URL") if chosen.model is None else None)
    supervisor = None
    if url:
        client = remote(url)
    else:
        base, adapter = target(chosen.model)
        name, folder = locate(base)
        supervisor = Supervisor(name, folder, build=beside(adapter), shared=True)
        client = Service.client_of(supervisor).asking(adapter.served_name if adapter else name)
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    page = None
    try:
        report = build_index(chosen)
        print(f"{report.documents} documents, {report.chunks} chunks ({report.embedded} embedded now)", file=sys.stderr)
        # The index before the model: both want all cores, and the page can then show what it searches.
        if supervisor is not None:
            supervisor.start()
        from app.ui import HERE, build_page

        page = build_page(Handlers(Service(chosen, supervisor, client)), _secret(chosen))
        import gradio as gr

        page.queue(max_size=64).launch(
            server_name=chosen.host,
            server_port=port,
            auth=list(chosen.auth) or None,
            quiet=True,
            share=False,
            prevent_thread_lock=True,
            footer_links=[],
            ssr_mode=False,
            max_file_size=f"{chosen.upload_mib}mb",
            theme=gr.themes.Default(
                primary_hue="emerald", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
            ),
            css_paths=HERE / "style.css",
            head=f"<script>{(HERE / 'script.js').read_text(encoding='utf-8')}</script>",
        )
        print(f"GenL Tutor: http://{chosen.host}:{port}", flush=True)
        while not over.wait(0.5):
            pass
        print("stopping", file=sys.stderr)
    finally:
        if page is not None:
            page.close(verbose=False)
        if supervisor is not None:
            supervisor.stop()


def _free(host: str, port: int) -> int:
    import socket

    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"port {port} on {host}: {error.strerror}. Choose another: make chat ARGS='--port 7861'"
            ) from error
        return int(probe.getsockname()[1])


def _secret(chosen: AppSettings) -> str:
    """Made once and kept, readable by the owner alone: browsers then keep their conversation over a restart."""
    import os
    import secrets

    path = chosen.conversations.parent / "browser-secret"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(16))
    return path.read_text()


if __name__ == "__main__":
    run(main)
