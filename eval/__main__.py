"""`python -m eval run SUITE… | compare BEFORE AFTER | report DIR`: what is true of the tutor, as figures one can act on."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from core.cli import Parser, run
from core.errors import ConfigError

if TYPE_CHECKING:
    from argparse import Namespace

SUITE_NAMES = "retrieval, claims, answers, refusal, exam, agent-tasks, plain-tasks, attacks, bank, bank-solved, finetune, mtrag-un, peers, growth, speed, gpu"


def main() -> None:
    """Parses the command line and runs one command."""
    parser = Parser(prog="python -m eval", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    suites = commands.add_parser("run", help="run suites; a killed run goes on where it was")
    suites.add_argument(
        "suites",
        nargs="+",
        metavar="SUITE",
        help=f"{SUITE_NAMES}; or all (but those of the machine: peers, growth, speed, gpu)",
    )
    suites.add_argument("--model", metavar="NAME|DIR|RUN|URL", help="default: the one being served")
    suites.add_argument("--served", metavar="NAME", help="a name of that endpoint, an adapter's say; default its first")
    suites.add_argument("--index", type=Path, metavar="DIR", help="default var/index")
    suites.add_argument("--data", action="append", default=[], metavar="SUITE=PATH", help="your own cases for a suite")
    suites.add_argument("--quick", action="store_true", help="a few dozen cases of each suite: minutes on 2 cores")
    suites.add_argument("--limit", type=int, metavar="N", help="so many cases of each group")
    suites.add_argument(
        "--concurrency", type=int, default=1, metavar="N", help="cases in flight; their times then overlap"
    )
    suites.add_argument(
        "--judge",
        metavar="NAME|DIR|URL",
        help="a model that judges each factual sentence; brings the suite claims with it",
    )
    suites.add_argument("--rotations", type=int, metavar="N", help="orders in which options are asked; default all")
    suites.add_argument("--price-per-hour", type=float, metavar="USD", help="of this machine, for the cost of answers")
    suites.add_argument("--skip", action="append", default=[], metavar="PART", help="of the suite gpu; repeatable")
    suites.add_argument("--seed", type=int, default=0)
    suites.add_argument("--fresh", action="store_true", help="run cases again that are kept from earlier runs")
    suites.add_argument("--baseline", type=Path, metavar="DIR", help="an earlier run to show beside this one")
    suites.add_argument("--out", type=Path, required=True, metavar="DIR")
    suites.set_defaults(act=_run)
    two = commands.add_parser("compare", help="two runs; exit code 1 where the second is worse")
    two.add_argument("before", type=Path, metavar="BEFORE")
    two.add_argument("after", type=Path, metavar="AFTER")
    two.add_argument("--threshold", type=float, default=0.0, help="a smaller difference is none (default 0)")
    two.set_defaults(act=_compare)
    again = commands.add_parser("report", help="write report.html and summary.md of a run again")
    again.add_argument("folder", type=Path, metavar="DIR")
    again.add_argument("--baseline", type=Path, metavar="DIR")
    again.set_defaults(act=_report)
    args = parser.parse_args()
    args.act(args)


def _run(args: Namespace) -> None:
    from core.paths import var_dir
    from eval import running
    from eval.suite import Bench, check_index
    from eval.suites import chosen
    from serving.connect import connect

    for name in ("limit", "concurrency", "rotations"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise ConfigError(f"--{name} must be at least 1")
    data = _data(args.data)
    wanted = chosen([*args.suites, "claims"] if args.judge else args.suites, data)
    if args.baseline:
        from eval.compare import read

        read(args.baseline)  # said before hours of work
    options = {
        name: value
        for name in ("rotations", "price_per_hour", "skip")
        if (value := getattr(args, name)) not in (None, False, [])
    }
    index = args.index or var_dir() / "index"
    if any("index" in suite.needs for suite in wanted):
        check_index(index)  # before a model is started
    asks = any("model" in suite.needs or ("judge" in suite.needs and not args.judge) for suite in wanted)
    with (
        connect(args.model) if asks else nullcontext() as client,
        connect(args.judge) if args.judge else nullcontext() as judge,
    ):
        if client is not None and args.served:
            client = client.asking(args.served)
        bench = Bench(
            index, client, judge=judge, quick=args.quick, limit=args.limit, data=data, options=options,
            concurrency=args.concurrency, seed=args.seed,
        )  # fmt: skip
        result = running.run(wanted, bench, args.out, args.fresh)
    _write(args.out, args.baseline)
    ended = [found["note"] for found in result["suites"].values() if found["note"]]
    for note in ended:
        print(f"note: {note}", file=sys.stderr)
    if ended:
        raise SystemExit(1)


def _compare(args: Namespace) -> None:
    from eval import compare, report
    from eval.suites import SUITES

    found = compare.compare(SUITES, args.before, args.after, args.threshold)
    print("\n".join(report.differences(found)))
    if any(d.verdict == "worse" for d in found):
        raise SystemExit(1)


def _report(args: Namespace) -> None:
    _write(args.folder, args.baseline)


def _write(folder: Path, baseline: Path | None) -> None:
    from eval import report

    print(report.write(folder, baseline))
    print(f"{folder}/report.html, summary.md, result.json, rows/", file=sys.stderr)


def _data(given: list[str]) -> dict[str, Path]:
    found = {}
    for item in given:
        name, _, path = item.partition("=")
        if not name or not path:
            raise ConfigError(f"--data is written SUITE=PATH (got {item!r})")
        if not Path(path).exists():
            raise ConfigError(f"{path}: no such file or folder")
        found[name] = Path(path)
    return found


if __name__ == "__main__":
    run(main)
