"""`python -m agents ask | quiz | export | import | serve | mcp | forget`: the tutor on the terminal, as an OpenAI endpoint, as an MCP server; its questions to and from other programs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from core.cli import Parser, run
from core.config import load
from core.errors import ConfigError

if TYPE_CHECKING:
    from argparse import Namespace

    from agents.config import AgentSettings
    from agents.tutor import Tutor


def main() -> None:
    """Parses the command line and runs one command."""
    parser = Parser(prog="python -m agents", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    ask = commands.add_parser("ask", help="one message; the steps go to stderr, the answer to stdout")
    ask.add_argument("message")
    ask.add_argument("--thread", default="", help="go on with this conversation; without it nothing is remembered")
    ask.add_argument("--json", action="store_true", help="the answer row and the whole trace as JSON")
    ask.set_defaults(act=_ask)
    serve = commands.add_parser("serve", help="an OpenAI-compatible endpoint: /v1/chat/completions with citations")
    serve.add_argument("--host", default="127.0.0.1", help="default this machine only; any other needs api_keys")
    serve.add_argument("--port", type=int, default=8100)
    serve.set_defaults(act=_serve)
    mcp = commands.add_parser("mcp", help="an MCP server on stdin and stdout")
    mcp.set_defaults(act=_mcp)
    quiz = commands.add_parser(
        "quiz", help="write practice questions from the notes; a killed run goes on where it was"
    )
    quiz.add_argument("--n", type=int, default=10, help="how many to try for; default 10")
    shares = quiz.add_mutually_exclusive_group()
    shares.add_argument("--blueprint", action="store_true", help="by the exam's weights, which is the default")
    shares.add_argument("--domain", type=int, help="all of this domain")
    shares.add_argument("--task", metavar="ID", help="all of this task statement, like 2.1")
    quiz.add_argument("--out", type=Path, required=True, metavar="FILE", help="the new questions, as JSON lines")
    quiz.set_defaults(act=_quiz)
    export = commands.add_parser("export", help="practice questions for Anki, Moodle or a spreadsheet")
    export.add_argument("file", type=Path, metavar="FILE", help=".apkg (Anki), .gift (Moodle), .csv or .jsonl")
    export.add_argument("--bank", type=Path, nargs="+", metavar="PATH", help="files or folders; default data/questions")
    export.add_argument("--domain", type=int, help="those of this domain alone")
    export.set_defaults(act=_export)
    bring = commands.add_parser(
        "import",
        help="questions from such a file, through the gates of written ones; a killed run goes on where it was",
    )
    bring.add_argument("file", type=Path, metavar="FILE", help=".apkg (Anki), .gift or .txt (Moodle), .csv or .jsonl")
    bring.add_argument("--out", type=Path, required=True, metavar="BANK.jsonl", help="the questions that got in")
    bring.add_argument("--no-model", action="store_true", help="run the gates alone that need no model")
    bring.set_defaults(act=_import)
    forget = commands.add_parser("forget", help="delete all conversations and results of a learner")
    forget.set_defaults(act=_forget)
    for command in (ask, forget):
        command.add_argument("--learner", default="me")
    for command in (quiz, bring):
        command.add_argument(
            "--rotations", type=int, default=2, help="orders of the options a solver is asked in; default 2"
        )
        command.add_argument("--concurrency", type=int, default=4, metavar="N", help="questions in work; default 4")
    for command in (ask, quiz, bring, serve, mcp):
        command.add_argument("--index", type=Path, metavar="DIR", help="default var/index")
        command.add_argument("--model", metavar="NAME|URL", help="default: the one being served")
    for command in (ask, quiz, export, bring, serve, mcp, forget):
        command.add_argument("--config", type=Path, help="YAML of agent settings")
        command.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting, like limits.seconds=60"
        )
    args = parser.parse_args()
    args.act(args)


def _ask(args: Namespace) -> None:
    import json

    from agents.tutor import Finished
    from rag.answering import Stage
    from rag.asking import to_row
    from rag.show import citations

    with _tutor(args) as tutor:
        for event in tutor.stream(args.message, thread=args.thread, learner=args.learner):
            if isinstance(event, Stage):
                print(f"· {event.name.replace('_', ' ')}", file=sys.stderr)
            elif isinstance(event, Finished):
                if args.json:
                    row = to_row("", event.answer) | {"trace": event.trace.to_row()}
                    print(json.dumps(row, ensure_ascii=False, indent=1))
                else:
                    print(event.answer.text)
                    citations(event.answer)


def _quiz(args: Namespace) -> None:
    from agents.examiner.graph import generate, yields
    from agents.examiner.plan import slots
    from core.exam import DOMAINS, TASKS

    if args.n < 1:
        raise ConfigError("--n must be at least 1")
    _check_gates(args)
    if args.domain is not None and args.domain not in {d.number for d in DOMAINS}:
        raise ConfigError(f"--domain {args.domain}: the exam's domains are 1 to {len(DOMAINS)}")
    if args.task is not None and args.task not in TASKS:
        raise ConfigError(f"--task {args.task}: no such task statement. They are {', '.join(TASKS)}")
    if args.out.exists():
        raise ConfigError(f"{args.out}: already there. Remove it first, or choose another --out")
    with _tutor(args) as tutor:
        plan = slots(args.n, args.domain, args.task)
        bank = list(tutor.bank.questions.values())
        rows = generate(tutor.retriever, tutor.client, plan, bank, args.out, args.rotations, args.concurrency)
    kept = sum(row["question"] is not None for row in rows)
    print(
        f"{args.out}: {kept} of {len(rows)} questions; {sum(row['seconds'] for row in rows):.0f} s of work, {args.concurrency} at a time"
    )
    for each in yields(rows):
        print(f"  {each.gate:16} {each.passed} of {each.came} drafts passed, {each.seconds:.0f} s")


def _export(args: Namespace) -> None:
    from agents.exchange import formats
    from core.exam import DOMAINS

    if args.domain is not None and args.domain not in {d.number for d in DOMAINS}:
        raise ConfigError(f"--domain {args.domain}: the exam's domains are 1 to {len(DOMAINS)}")
    if args.file.exists():
        raise ConfigError(f"{args.file}: already there. Remove it first, or choose another FILE")
    everything = formats.questions(args.bank or [_settings(args).bank])
    found = [q for q in everything if args.domain in (None, q.domain)]
    if not found:
        raise ConfigError("no questions to export there. Choose another --bank or --domain")
    formats.write(found, args.file)
    print(f"{args.file}: {len(found)} questions, {args.file.stat().st_size / 1000:.0f} kB")


def _import(args: Namespace) -> None:
    from agents.bank import Bank
    from agents.exchange import formats
    from agents.exchange.imports import admit
    from rag.retriever import Retriever
    from serving.connect import connect

    _check_gates(args)
    if args.out.suffix != ".jsonl":
        raise ConfigError(f"{args.out}: a bank is a .jsonl file. Choose another --out")
    if args.out.exists():
        raise ConfigError(f"{args.out}: already there. Remove it first, or choose another --out")
    if args.no_model and args.model:
        raise ConfigError("--no-model asks no model: leave out --model")
    rows, bank = formats.read(args.file), Bank.open(_settings(args).bank)
    known = [row["id"] for row in rows if row["id"] in bank.questions]
    if known and args.out.resolve().parent == _settings(args).bank.resolve():
        raise ConfigError(f"{args.out}: the bank there holds {known[0]!r} already. Choose an --out in another folder")
    with ExitStack() as stack:
        retriever = Retriever.open(_index(args))
        client = None if args.no_model else stack.enter_context(connect(args.model))
        found = admit(
            rows, retriever, list(bank.questions.values()), args.out, client, args.rotations, args.concurrency
        )
    print(f"{args.out}: {len(found.kept)} of {len(rows)} questions got in")
    for dropped in found.dropped:
        print(f"  {dropped.id}: dropped at {dropped.gate}: {dropped.trouble}")
    if found.updates:
        print(f"  of questions the bank holds, to be replaced there: {', '.join(found.updates)}")
    if found.not_run:
        print(f"not run, for want of a model: {', '.join(found.not_run)}")


def _serve(args: Namespace) -> None:
    import uvicorn

    from agents.server import application

    settings = _settings(args)
    if args.host not in ("127.0.0.1", "localhost", "::1") and not settings.api_keys:
        raise ConfigError(f"--host {args.host} opens the endpoint to others: give --set 'api_keys=[\"...\"]'")
    with _tutor(args) as tutor:
        print(f"GenL Tutor: http://{args.host}:{args.port}/v1", flush=True)
        app = application(tutor, settings.api_keys, settings.requests_per_minute)
        uvicorn.run(app, host=args.host, port=args.port, log_level="warning")


def _mcp(args: Namespace) -> None:
    from agents.mcp_server import server

    with _tutor(args) as tutor:
        server(tutor).run()


def _forget(args: Namespace) -> None:
    from agents.learners import Learners
    from agents.threads import Threads

    settings = _settings(args)
    threads = Threads(settings.threads, settings.threads_kept).forget(args.learner)
    marks = Learners(settings.learners).forget(args.learner)
    print(f"forgotten: {threads} conversations and {marks} results of {args.learner}")


def _check_gates(args: Namespace) -> None:
    for name in ("rotations", "concurrency"):
        if getattr(args, name) < 1:
            raise ConfigError(f"--{name} must be at least 1")


def _settings(args: Namespace) -> AgentSettings:
    from agents.config import AgentSettings

    return load(AgentSettings, args.config, args.set)


def _index(args: Namespace) -> Path:
    from core.paths import var_dir

    index: Path = args.index or var_dir() / "index"
    if not index.exists():
        raise ConfigError(f"{index}: no index there. Run: python -m rag build --source data/corpus --index {index}")
    return index


@contextmanager
def _tutor(args: Namespace) -> Iterator[Tutor]:
    from agents.tutor import Tutor
    from rag.retriever import Retriever
    from serving.connect import connect

    settings, index = _settings(args), _index(args)
    with connect(args.model) as client:
        tutor = Tutor(Retriever.open(index), client, settings)
        try:
            yield tutor
        finally:
            tutor.close()


if __name__ == "__main__":
    run(main)
