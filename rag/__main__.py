"""`python -m rag build | search | ask | inspect | check`: the index, TREC runs, cited answers, and every stage side by side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from core.cli import Parser, run
from core.config import load
from core.errors import ConfigError, DocumentError
from core.paths import CORPUS
from rag.config import IndexSettings

if TYPE_CHECKING:
    from argparse import Namespace

    from rag.retriever import Retriever


def main() -> None:
    """Parses the command line and runs one command."""
    parser = Parser(prog="python -m rag", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    build = commands.add_parser("build", help="make or update an index from files and folders")
    build.add_argument(
        "--source", type=Path, action="append", required=True, metavar="PATH", help="folder or file; repeatable"
    )
    build.add_argument("--config", type=Path, help="YAML with chunking, dense, lexical, fusion and reranking settings")
    build.add_argument("--skip-broken", action="store_true", help="leave out unreadable files, with a line each")
    build.set_defaults(act=_build)

    search = commands.add_parser("search", help="rank chunks or documents for a question, or for a file of them")
    search.add_argument("question", nargs="?", help="prints a readable table")
    search.add_argument("--queries", type=Path, metavar="FILE.jsonl", help="rows {_id, text}")
    search.add_argument("--k", type=int, default=10)
    search.add_argument("--by", choices=("chunk", "document"), default="chunk")
    search.add_argument("--stage", choices=("dense", "bm25", "fused", "reranked"), default="reranked")
    search.add_argument("--out", type=Path, metavar="RUN.trec", help="TREC run file; without it the run goes to stdout")
    search.set_defaults(act=_search)

    ask = commands.add_parser("ask", help="answer questions with checked citations")
    ask.add_argument("question", nargs="?", help="one question, answered on the terminal")
    ask.add_argument("--questions", type=Path, metavar="FILE.jsonl", help="rows {_id, text[, contexts][, messages]}")
    ask.add_argument("--out", type=Path, metavar="ANSWERS.jsonl")
    ask.add_argument(
        "--model",
        metavar="NAME|URL",
        help="a registry name or an OpenAI-compatible endpoint; default: the one being served",
    )
    ask.add_argument("--concurrency", type=int, default=4, help="questions in flight at once (default 4)")
    ask.set_defaults(act=_ask)

    inspect = commands.add_parser("inspect", help="every stage's ranking side by side, with scores and times")
    inspect.add_argument("question")
    inspect.add_argument("--k", type=int, default=5)
    inspect.set_defaults(act=_inspect)

    check = commands.add_parser("check", help="hold study notes against their rules: front matter, coverage, no copies")
    check.add_argument("--source", type=Path, default=CORPUS, metavar="DIR")
    check.set_defaults(act=_check)

    for command, needed in ((build, True), (search, True), (ask, False), (inspect, True)):
        command.add_argument("--index", type=Path, required=needed, metavar="DIR")
        command.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="override a setting, for example fusion.dense=0.5",
        )
    args = parser.parse_args()
    args.act(args)


def _build(args: Namespace) -> None:
    from rag.building import build

    report = build(
        args.source,
        args.index,
        load(IndexSettings, args.config, args.set),
        skip_broken=_warn if args.skip_broken else None,
    )
    state = "index updated" if report.changed else "index is up to date"
    print(
        f"{state}: {report.documents} documents, {report.chunks} chunks "
        f"({report.embedded} embedded, {report.reused} reused, {report.removed} removed) in {args.index}"
    )


def _warn(message: str) -> None:
    print(f"skipped: {message}", file=sys.stderr)


def _search(args: Namespace) -> None:
    from rag.runs import read_queries, write_run

    if (args.question is None) == (args.queries is None):
        raise ConfigError("give either a question or --queries FILE.jsonl")
    _positive("--k", args.k)
    queries = None if args.queries is None else read_queries(args.queries)
    retriever = _open(args)
    if queries is None:
        from rag.show import hits_table

        hits_table(retriever.search(args.question, args.k, args.by, args.stage))
    else:
        write_run(retriever, queries, args.k, args.by, args.stage, args.out)


def _ask(args: Namespace) -> None:
    from rag.answering import Answerer
    from rag.asking import answer_file, read_questions
    from serving.connect import connect

    if (args.question is None) == (args.questions is None):
        raise ConfigError("give either a question or --questions FILE.jsonl")
    if args.questions is not None and args.out is None:
        raise ConfigError("--questions needs --out ANSWERS.jsonl")
    _positive("--concurrency", args.concurrency)
    # Everything that can be wrong with the input is found before a model starts.
    questions = None if args.questions is None else read_questions(args.questions)
    bare = args.question is not None or any(not q.contexts for q in questions or ())
    if args.index is None and bare:
        raise ConfigError("--index DIR is needed: not every question brings its contexts")
    retriever = _open(args) if args.index is not None else None
    with connect(args.model) as client:
        answerer = Answerer(retriever, client)
        if questions is None:
            from rag.show import stream_answer

            stream_answer(answerer, args.question)
        else:
            answer_file(answerer, questions, args.out, args.concurrency)


def _inspect(args: Namespace) -> None:
    from rag.show import stages_table

    _positive("--k", args.k)
    retriever = _open(args)
    retriever.search(args.question)  # the first search loads the model; its time would hide the rest
    stages_table(retriever.search(args.question, args.k))


def _check(args: Namespace) -> None:
    from rag.notes import check_notes

    report = check_notes(args.source)
    print(f"{report.notes} notes, {report.words} words")
    print("by domain: " + ", ".join(f"{domain}: {n}" for domain, n in report.by_domain.items()))
    print("by task:   " + ", ".join(f"{task}: {n}" for task, n in report.by_task.items()))
    for problem in report.problems:
        print(f"  {problem}")
    if report.problems:
        raise DocumentError(f"{args.source}: {len(report.problems)} problems, listed above")


def _open(args: Namespace) -> Retriever:
    from core.config import nested
    from rag.retriever import Retriever

    return Retriever.open(args.index, nested(args.set))


def _positive(name: str, value: int) -> None:
    if value < 1:
        raise ConfigError(f"{name} {value}: must be at least 1")


if __name__ == "__main__":
    run(main)
