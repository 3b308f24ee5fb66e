"""`python -m finetune --config lora.yaml`: from data to a served adapter."""

from __future__ import annotations

import sys
from pathlib import Path

from core.cli import Parser, run

COMMANDS = ("train", "sweep", "data", "merge", "scale", "publish", "rollback", "throughput", "embedder")


def main() -> None:
    """Parses the command line; `train` is what happens when no command is named."""
    words = sys.argv[1:]
    if not words or words[0] not in (*COMMANDS, "-h", "--help"):
        words = ["train", *words]
    parser = Parser(prog="python -m finetune", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)

    train = commands.add_parser("train", help="train an adapter (the default command)")
    train.add_argument(
        "--config", required=True, metavar="FILE", help="a YAML file, or one of finetune/configs: lora.yaml"
    )
    train.add_argument(
        "--dry-run", action="store_true", help="show settings, steps, memory, time and a sample; train nothing"
    )
    train.add_argument("overrides", nargs="*", metavar="key=value", help="settings that replace the file's")

    search = commands.add_parser("sweep", help="search settings with optuna, every trial a run")
    search.add_argument("--config", required=True, metavar="FILE", help="a sweep's YAML file: sweep.yaml")
    search.add_argument("overrides", nargs="*", metavar="key=value", help="settings that replace the file's")

    data = commands.add_parser("data", help="compose data/sft from the notes and their originals")
    data.add_argument("--out", type=Path, default=Path("data/sft"), metavar="DIR")
    data.add_argument(
        "--check", action="store_true", help="only say whether the committed files are what would be written"
    )

    merge = commands.add_parser("merge", help="fold a run's adapter into a 16-bit copy of its base")
    merge.add_argument("run", type=Path, metavar="RUN")
    merge.add_argument("--out", type=Path, metavar="DIR", help="default RUN/merged")

    scale = commands.add_parser(
        "scale", help="set a run's adapter to a share of its strength, between base and adapter"
    )
    scale.add_argument("run", type=Path, metavar="RUN")
    scale.add_argument("share", type=float, metavar="SHARE", help="1 is the adapter as trained")

    publish = commands.add_parser("publish", help="serve a run's adapter beside its base, now and after restarts")
    publish.add_argument("run", type=Path, metavar="RUN")
    publish.add_argument("--name", help="what it is called; default the run's name")

    rollback = commands.add_parser("rollback", help="serve the version before the present one again")
    rollback.add_argument("name", metavar="NAME")

    throughput = commands.add_parser("throughput", help="tokens/s of a run's base, adapter and merged weights in vLLM")
    throughput.add_argument("run", type=Path, metavar="RUN")

    embedder = commands.add_parser("embedder", help="train the embedder of search on questions and their passages")
    embedder.add_argument("--config", default="embedder.yaml", metavar="FILE", help="default embedder.yaml")
    embedder.add_argument("overrides", nargs="*", metavar="key=value", help="settings that replace the file's")
    args = parser.parse_args(words)
    if args.command == "train":
        from finetune.commands import train as run_training

        run_training(args.config, args.overrides, args.dry_run)
    elif args.command == "sweep":
        from finetune.commands import sweep as run_sweep

        run_sweep(args.config, args.overrides)
    elif args.command == "data":
        from finetune.commands import compose_data

        compose_data(args.out, args.check)
    elif args.command == "merge":
        from finetune.merging import merge as run_merge

        folder, worst = run_merge(args.run, args.out)
        print(f"{folder}: merged, logits within {worst:.3f} standard deviations of the adapter's")
    elif args.command == "scale":
        from finetune.scaling import scale as run_scale

        print(f"{args.run}/adapter: lora_alpha {run_scale(args.run, args.share):g}")
    elif args.command == "publish":
        from finetune.publishing import publish as run_publish

        run_publish(args.run, args.name)
    elif args.command == "rollback":
        from finetune.publishing import rollback as run_rollback

        run_rollback(args.name)
    elif args.command == "throughput":
        from finetune.throughput import measure

        measure(args.run)
    elif args.command == "embedder":
        from finetune.commands import embedder as run_embedder

        run_embedder(args.config, args.overrides)


if __name__ == "__main__":
    run(main)
