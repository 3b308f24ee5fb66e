"""`python -m eval run agent-tasks | attacks | claims | bank`: one JSON line a case, a table at the end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import journal
from core.cli import Parser, run
from core.errors import ConfigError

if TYPE_CHECKING:
    from argparse import Namespace

SUITES = {"agent-tasks": "agent_tasks.jsonl", "attacks": "attacks.jsonl", "claims": "claims.jsonl"}


def main() -> None:
    """Parses the command line and runs one command."""
    parser = Parser(prog="python -m eval", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    suite = commands.add_parser("run", help="run a suite; a killed one goes on where it was")
    suite.add_argument("suite", choices=[*SUITES, "bank"])
    suite.add_argument(
        "--models", nargs="*", default=[], metavar="NAME", help="models of the endpoint; default its base"
    )
    suite.add_argument("--endpoint", metavar="URL", help="default: the one being served")
    suite.add_argument("--index", type=Path, metavar="DIR", help="default var/index")
    suite.add_argument("--limit", type=int, help="so many cases of each kind")
    suite.add_argument("--concurrency", type=int, default=1, help="cases in flight; their times then overlap")
    suite.add_argument("--plain", action="store_true", help="plain `rag ask` beside the agent")
    suite.add_argument(
        "--bank", type=Path, nargs="+", metavar="FILE|DIR", help="banks of questions; default data/questions"
    )
    suite.add_argument("--solve", action="store_true", help="also let the model sit the bank's questions")
    suite.add_argument(
        "--rotations", type=int, help="orders of the options asked; default as many as there are options"
    )
    suite.add_argument("--out", type=Path, required=True, metavar="DIR")
    suite.set_defaults(act=_run)
    args = parser.parse_args()
    args.act(args)


def _out(args: Namespace, name: str) -> Path:
    """The file of one contender's rows; says so where some are there."""
    out: Path = args.out / f"{name.replace('/', '_')}.jsonl"
    if kept := len(journal.read(out)):
        print(f"{out}: {kept} cases kept from an earlier run. Choose another --out to run them again", file=sys.stderr)
    return out


def _run(args: Namespace) -> None:
    from agents.config import AgentSettings
    from core.paths import ROOT, var_dir
    from eval.suites import agent
    from rag.retriever import Retriever
    from serving.connect import connect

    if args.limit is not None and args.limit < 1:
        raise ConfigError("--limit must be at least 1")
    if args.concurrency < 1:
        raise ConfigError("--concurrency must be at least 1")
    if args.suite == "bank":
        _bank(args)
        return
    rows = agent.cases(ROOT / "data" / "eval" / SUITES[args.suite], args.limit)
    if args.suite == "claims":
        _claims(args, rows)
        return
    index = args.index or var_dir() / "index"
    if not index.exists():
        raise ConfigError(f"{index}: no index there. Run: python -m rag build --source data/corpus --index {index}")
    retriever = Retriever.open(index)
    measured = {}
    with connect(args.endpoint) as client:
        for model in args.models or [client.endpoint.model]:
            asked = client.asking(model)
            runs = {"agent": agent.by_agent(retriever, asked, AgentSettings())}
            if args.plain:
                runs["plain"] = agent.by_retrieval(retriever, asked)
            for kind, one in runs.items():
                name = f"{kind}, {model}"
                out = _out(args, f"{args.suite}-{kind}-{model}")
                measured[name] = agent.measure(one, rows, out, args.concurrency)
    print("\n".join(agent.table(measured)))
    past = sum(bool(row.get("past_bound")) for found in measured.values() for row in found)
    print(f"\nruns past a bound: {past}")


def _claims(args: Namespace, rows: list[dict[str, Any]]) -> None:
    from agents.config import AgentSettings
    from eval.suites import agent, claims
    from serving.connect import connect

    measured = {"words in common": [claims.by_words(row) for row in rows]}
    with connect(args.endpoint) as client:
        for model in args.models or [client.endpoint.model]:
            out = _out(args, f"claims-{model}")
            measured[model] = agent.measure(claims.by_model(client.asking(model)), rows, out, args.concurrency)
    print("\n".join(claims.table(measured, AgentSettings().verify_at)))


def _bank(args: Namespace) -> None:
    import json

    from core import files
    from core.paths import CORPUS, ROOT
    from eval.suites import bank
    from rag.building import open_embedder
    from rag.config import IndexSettings
    from rag.documents import load_sources
    from serving.connect import connect

    banks = {str(path): bank.load(path) for path in args.bank or [ROOT / "data" / "questions"]}
    documents = {document.doc_id: document for document in load_sources([CORPUS])}
    embedder = open_embedder(IndexSettings())
    measured = {
        name: bank.shape(questions)
        | bank.in_sources(questions, documents)
        | bank.repeated(questions, lambda texts: embedder.encode(texts, tokens=False)[0])
        for name, questions in banks.items()
    }
    if args.solve:
        with connect(args.endpoint) as client:
            for model in args.models or [client.endpoint.model]:
                for name, questions in banks.items():
                    asked = questions if args.limit is None else questions[:: -(-len(questions) // args.limit)]
                    out = _out(args, f"bank-{model}-{Path(name).stem}")
                    found = bank.solved(asked, documents, client.asking(model), out, args.rotations, args.concurrency)
                    measured[name] |= {f"{figure}, {model}": value for figure, value in found.items()}
    files.write(args.out / "bank.json", json.dumps(measured, indent=1, ensure_ascii=False))
    print("\n".join(bank.table(measured)))


if __name__ == "__main__":
    run(main)
