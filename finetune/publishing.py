"""From a run folder to an adapter in service, back again, and compared with its base."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

from core.errors import ServingError, TrainingError
from finetune import run
from finetune.config import unservable


def publish(folder: Path, name: str | None) -> None:
    """Loads a run's adapter into the server that serves its base; starts one for the occasion where none runs."""
    from serving import adapters
    from serving.connect import connect, served_name
    from serving.vllm import recorded

    settings = run.settings_of(folder)
    refused = unservable(settings)
    if refused:
        raise TrainingError(f"{folder}: cannot be published: {'; '.join(refused)}")
    source = run.adapter_of(folder)
    base = settings.model_name_or_path
    # A server started for the occasion is given this run, so that it makes room for its rank.
    with connect(base if recorded([served_name(base)]) else str(folder)) as client:
        done = adapters.publish(name or folder.name, source, base, str(folder), client)
    print(
        f"{done.served_name}: in service beside {served_name(base)}. Back again: python -m finetune rollback {done.name}"
    )


def rollback(name: str) -> None:
    """The version before, in the running server too where one serves its base."""
    from serving import adapters
    from serving.client import ChatClient, Endpoint
    from serving.vllm import recorded

    running = recorded()
    mine = [adapter for adapter in adapters.published() if adapter.name == name]
    serves = running is not None and any(adapter.belongs_to(running.model) for adapter in mine)
    client = ChatClient(Endpoint(base_url=running.url, model=running.model)) if running and serves else None
    target = adapters.rollback(name, client)
    print(
        f"{target.served_name}: in service again"
        if target
        else f"{name}: no version before; the base alone is in service"
    )


def compare(args: Namespace) -> None:
    """Runs all suites for all models and writes `cases.jsonl` and `summary.json`; prints a table."""
    from rich.console import Console
    from rich.table import Table

    from finetune.evaluation import Case, evaluate, exam_cases, mtrag_cases, own_cases, summary
    from serving.client import ChatClient, Endpoint
    from serving.vllm import recorded

    running = recorded()
    url = args.url or (running.url if running else None)
    if url is None:
        raise ServingError("no server runs here. Start one: python -m serving start, or give --url")
    cases: list[Case] = own_cases(args.data)
    if args.mtrag:
        cases += mtrag_cases(args.mtrag)
    if args.questions:
        cases += exam_cases(args.questions, None)
        if args.index:
            from rag.retriever import Retriever

            cases += exam_cases(args.questions, Retriever.open(args.index))
    if args.limit:
        kept: dict[str, list[Case]] = {}
        for case in cases:
            kept.setdefault(case.suite, []).append(case)
        cases = [case for suite in kept.values() for case in suite[:: max(1, len(suite) // args.limit)][: args.limit]]
    args.out.mkdir(parents=True, exist_ok=True)
    found = {}
    with (args.out / "cases.jsonl").open("w", encoding="utf-8") as file:
        for model in args.models:
            rows = evaluate(ChatClient(Endpoint(base_url=url, model=model)), cases)
            file.writelines(json.dumps({"model": model} | row, ensure_ascii=False) + "\n" for row in rows)
            found[model] = summary(cases, rows)
    (args.out / "summary.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    table = Table(title="value [95 % bootstrap interval]")
    for column in ("suite", "metric", *args.models):
        table.add_column(column)
    for suite, values in found[args.models[0]].items():
        for metric in values:
            cells = [found[model][suite][metric] for model in args.models]
            table.add_row(suite, metric, *(f"{v:.3f} [{low:.3f}, {high:.3f}]" for v, low, high in cells))
    Console().print(table)
