"""From a run folder to an adapter in service, back again, and compared with its base."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import files
from core.errors import ServingError, TrainingError
from finetune import run
from finetune.config import unservable

if TYPE_CHECKING:
    from finetune.evaluation import Case


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
    from finetune.evaluation import difference, evaluate, exam_cases, mtrag_cases, own_cases, spread, summary
    from serving.client import ChatClient, Endpoint
    from serving.vllm import recorded

    running = recorded()
    url = args.url or (running.url if running else None)
    if url is None:
        raise ServingError("no server runs here. Start one: python -m serving start, or give --url")
    suites: dict[str, list[Case]] = {}
    for case in own_cases(args.data) + (mtrag_cases(args.mtrag) if args.mtrag else []):
        suites.setdefault(case.suite, []).append(case)
    cases = [case for suite in suites.values() for case in spread(suite, args.limit)]
    if args.questions:
        cases += exam_cases(args.questions, None, args.limit)
        if args.index:
            from rag.retriever import Retriever

            cases += exam_cases(args.questions, Retriever.open(args.index), args.limit)
    # A served name may stand for another adapter tomorrow: only an unfinished evaluation is gone on with.
    partial = args.out / "cases.partial.jsonl"
    rows = {model: evaluate(ChatClient(Endpoint(base_url=url, model=model)), cases, partial) for model in args.models}
    lines = (json.dumps({"model": m} | row, ensure_ascii=False) + "\n" for m, found in rows.items() for row in found)
    files.write(args.out / "cases.jsonl", "".join(lines))
    measured: dict[str, Any] = {model: summary(cases, found) for model, found in rows.items()}
    first = args.models[0]
    for model in args.models[1:]:
        measured[f"{model} - {first}"] = difference(cases, rows[first], rows[model])
    files.write(args.out / "summary.json", json.dumps(measured, indent=1))
    partial.unlink()
    _show(cases, measured)


def _show(cases: Sequence[Case], measured: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="value [95 % bootstrap interval]")
    for column in ("suite", "cases", "metric", *measured):
        table.add_column(column)
    for suite, values in next(iter(measured.values())).items():
        count = sum(case.suite == suite for case in cases)
        for metric in values:
            cells = [found[suite][metric] for found in measured.values()]
            table.add_row(suite, str(count), metric, *(f"{v:.3f} [{low:.3f}, {high:.3f}]" for v, low, high in cells))
    Console().print(table)
