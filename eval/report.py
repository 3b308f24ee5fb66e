"""A run's result as one HTML file that opens without a network, and as Markdown for a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from core import files
from eval import judge
from eval.compare import Difference, compare, read, rows
from eval.suite import Row
from eval.suites import SUITES

WORST = 5
_STYLE = Path(__file__).parent / "report.css"
_DIGITS = {"ms": 0, "tokens/s": 1, "$": 4}


def write(folder: Path, baseline: Path | None = None) -> str:
    """Writes `report.html` and `summary.md` beside the result; gives the summary."""
    result = read(folder)
    changes = compare(SUITES, baseline, folder) if baseline else []
    before = read(baseline) if baseline else None
    kept = {name: rows(folder, name) for name in result["suites"]}
    summary = "\n".join(markdown(result, before, changes, kept))
    files.write(folder / "summary.md", summary + "\n")
    files.write(folder / "report.html", html(result, before, changes, kept))
    return summary


def markdown(
    result: Mapping[str, Any],
    before: Mapping[str, Any] | None,
    changes: Sequence[Difference],
    kept: Mapping[str, Sequence[Row]],
) -> Iterator[str]:
    """What got worse first, then the headline figures with their intervals, last what a machine was measured at."""
    told = result["run"]
    model = told.get("model", {}).get("name", "no model")
    yield f"**{model}**, index {told['index']['sha256'][:12] or 'none'}, commit {told['git_commit'][:12]}{' with changes' if told['git_changed'] else ''}, {told['hardware']['processor']} ({told['hardware']['cores']} cores{', ' + ', '.join(told['hardware']['gpus']) if told['hardware']['gpus'] else ''}){', quick' if told['quick'] else ''}"
    yield ""
    if "judge" in told:
        yield _judge(result)
        yield ""
    if changes:
        yield from differences(changes)
        yield ""
    yield "| suite | figure | value [95 %] | cases |" + (" before |" if before else "")
    yield "|---|---|---|---|" + ("---|" if before else "")
    for name, suite in result["suites"].items():
        for note in _notes(suite):
            yield f"| {name} | {note} | | {suite['run']} |" + (" |" if before else "")
        for figure, found in headlines(suite):
            old = _older(before, name, figure)
            line = f"| {name} | {figure} | {shown(found)} | {found['n']} |"
            yield line + (f" {shown(old) if old else '–'} |" if before else "")
    measured = [line for mine in kept.values() for line in _measured(mine)]
    if measured:
        yield from ("", "| part | figure | value | goal |", "|---|---|---|---|")
        yield from (f"| {' | '.join(line)} |" for line in measured)


def differences(changes: Sequence[Difference]) -> Iterator[str]:
    """A table of what changed; what shows no difference is counted."""
    still = sum(d.verdict == "no difference shown" for d in changes)
    moved = [d for d in changes if d.verdict != "no difference shown"]
    if moved:
        yield "| | suite | figure | before | after | difference [interval] | cases |"
        yield "|---|---|---|---|---|---|---|"
    for d in moved:
        yield (
            f"| {d.verdict} | {d.suite} | {d.metric} | {d.before:.3f} | {d.after:.3f} | "
            f"{d.change:+.3f} [{d.low:+.3f}, {d.high:+.3f}] | {d.n} |"
        )
    yield f"{'' if moved else 'No difference shown: '}{still} of {len(changes)} figures show no difference."


def _measured(kept: Sequence[Row]) -> Iterator[tuple[str, str, str, str]]:
    """Part, figure, value and goal of the rows that are measurements of a machine."""
    for row in kept:
        for name, value in row["shown"].get("figures", {}).items():
            goal = row["shown"]["goals"].get(name)
            yield row["id"], name, f"{value:,.4g}", f"≥ {goal:g}" if goal is not None else ""


def _notes(suite: Mapping[str, Any]) -> list[str]:
    """What a reader must know before its figures: that it ended early, that cases could not be run."""
    failed = f"{suite['errors']} cases could not be run and count as failures." if suite["errors"] else ""
    return [note for note in (suite["note"], failed) if note]


def headlines(suite: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The figures a suite is judged by."""
    return [(name, found) for name, found in suite["metrics"].items() if found["headline"]]


def shown(found: Mapping[str, Any]) -> str:
    """A value with its interval, where it has one."""
    digits = _DIGITS.get(found["unit"], 3)
    unit = f" {found['unit']}" if found["unit"] else ""
    bounds = f" [{found['low']:.{digits}f}, {found['high']:.{digits}f}]" if "low" in found else ""
    return f"{found['value']:.{digits}f}{unit}{bounds}"


def html(
    result: Mapping[str, Any],
    before: Mapping[str, Any] | None,
    changes: Sequence[Difference],
    kept: Mapping[str, Sequence[Row]],
) -> str:
    """The whole page."""
    title = f"GenL Tutor: {result['run'].get('model', {}).get('name', 'evaluation')}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        _facts(result["run"]),
        _regressions(changes) if before else "",
        _headline_table(result, before),
        *(_suite(name, suite, kept.get(name, [])) for name, suite in result["suites"].items()),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, '
        f'initial-scale=1"><title>{escape(title)}</title><style>{_STYLE.read_text(encoding="utf-8")}</style></head>'
        f"<body><main>{''.join(parts)}</main></body></html>"
    )


def _facts(told: Mapping[str, Any]) -> str:
    machine = told["hardware"]
    facts = {
        "Model": _model(told.get("model", {})),
        **(
            {"Judge": _model(told["judge"]) + f", prompt {told['judge']['prompt_sha256'][:12]}"}
            if "judge" in told
            else {}
        ),
        "Index": f"{told['index']['path']} ({told['index']['sha256'][:12] or 'none'})",
        "Commit": told["git_commit"][:12] + (" with changes" if told["git_changed"] else ""),
        "Machine": f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB"
        + (f", {', '.join(machine['gpus'])}" if machine["gpus"] else ", no GPU"),
        "Libraries": ", ".join(f"{name} {number}" for name, number in told["libraries"].items()),
        "Form": ("quick" if told["quick"] else "full")
        + (f", at most {told['limit']} of each group" if told["limit"] else "")
        + (f", {told['concurrency']} cases in flight" if told.get("concurrency", 1) > 1 else "")
        + f", seed {told['seed']}",
        "When": f"{told['started']} to {told.get('finished', '?')}",
    }
    return f"<dl>{''.join(f'<div><dt>{k}</dt><dd>{escape(v)}</dd></div>' for k, v in facts.items())}</dl>"


def _model(card: Mapping[str, Any]) -> str:
    if not card:
        return "none"
    place = f"weights {card['weights']} {card['sha256'][:12]}" if "weights" in card else f"at {card['url']}"
    return f"{card['name']}, {place}" + (f", on {card['parent']}" if card.get("parent") else "")


def _judge(result: Mapping[str, Any]) -> str:
    """Who judged, and how far it agrees with labels."""
    told = result["run"]["judge"]
    kappa = result["suites"].get("claims", {}).get("metrics", {}).get("agreement (κ)")
    if not kappa:
        trust = "not held against labels, so not trusted"
    else:
        trust = f"κ with labels {shown(kappa)}, {'trusted' if kappa['value'] >= judge.TRUSTED else 'not trusted: none of its figures is a headline'}"
    return f"Judge: {told['name']}, prompt {told['prompt_sha256'][:12]}, {trust}."


def _regressions(changes: Sequence[Difference]) -> str:
    moved = [d for d in changes if d.verdict != "no difference shown"]
    still = len(changes) - len(moved)
    lines = "".join(
        f'<tr class="{d.verdict}"><td>{d.verdict}</td><td>{escape(d.suite)}</td><td>{escape(d.metric)}</td><td>{d.before:.3f}</td>'
        f"<td>{d.after:.3f}</td><td>{d.change:+.3f} [{d.low:+.3f}, {d.high:+.3f}]</td><td>{_shift(d)}</td><td>{d.n}</td></tr>"
        for d in moved
    )
    table = (
        "<table><tr><th></th><th>suite</th><th>figure</th><th>before</th><th>after</th><th>difference [interval]</th><th></th><th>cases</th></tr>"
        f"{lines}</table>"
        if moved
        else ""
    )
    return f'<section class="changes"><h2>Against the baseline</h2>{table}<p>{still} of {len(changes)} figures show no difference.</p></section>'


def _headline_table(result: Mapping[str, Any], before: Mapping[str, Any] | None) -> str:
    lines = []
    for name, suite in result["suites"].items():
        lines += [
            f'<tr class="note"><td>{escape(suite["title"])}</td><td colspan="4">{escape(note)}</td></tr>'
            for note in _notes(suite)
        ]
        for figure, found in headlines(suite):
            old = _older(before, name, figure)
            lines.append(
                f"<tr><td><a href='#{name}'>{escape(suite['title'])}</a></td><td>{escape(figure)}</td><td>{shown(found)}</td>"
                f"<td>{_range(found)}</td><td>{found['n']}</td>"
                + (f"<td>{shown(old) if old else '–'}</td>" if before else "")
                + "</tr>"
            )
    head = (
        "<tr><th>suite</th><th>figure</th><th>value [95 % interval]</th><th></th><th>cases</th>"
        + ("<th>before</th>" if before else "")
        + "</tr>"
    )
    return f"<section><h2>Headlines</h2><table>{head}{''.join(lines)}</table></section>"


def _older(before: Mapping[str, Any] | None, suite: str, figure: str) -> Mapping[str, Any] | None:
    if before is None:
        return None
    found: Mapping[str, Any] | None = before["suites"].get(suite, {}).get("metrics", {}).get(figure)
    return found


def _range(found: Mapping[str, Any]) -> str:
    """A share from 0 to 1 as a bar with its interval; nothing for what is no share."""
    if found["unit"] or "low" not in found or not 0 <= found["low"] <= found["high"] <= 1:
        return ""
    low, high, value = (100 * found[key] for key in ("low", "high", "value"))
    return (
        f'<svg class="range" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label="{value:.0f} %">'
        f'<rect class="rail" width="100" height="8" rx="2"/><rect class="bar" width="{value:.1f}" height="8" rx="2"/>'
        f'<rect class="whisker" x="{low:.1f}" y="3" width="{max(high - low, 0.5):.1f}" height="2"/></svg>'
    )


def _shift(d: Difference) -> str:
    """A difference of shares as a mark with its interval, zero in the middle and one half at either end."""
    if max(abs(d.low), abs(d.high), abs(d.change)) > 1:
        return ""
    low, high, value = (50 + 100 * max(-0.5, min(0.5, x)) for x in (d.low, d.high, d.change))
    return (
        f'<svg class="range" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label="{d.change:+.3f}">'
        f'<rect class="rail" width="100" height="8" rx="2"/><rect class="whisker" x="49.8" width="0.4" height="8"/>'
        f'<rect class="bar" x="{min(50, value):.1f}" width="{abs(value - 50):.1f}" height="8"/>'
        f'<rect class="whisker" x="{low:.1f}" y="3" width="{max(high - low, 0.5):.1f}" height="2"/></svg>'
    )


def _suite(name: str, suite: Mapping[str, Any], kept: Sequence[Row]) -> str:
    figures = "".join(
        f"<tr><td>{escape(figure)}{_trust(found, suite)}</td><td>{shown(found)}</td><td>{_range(found)}</td><td>{found['n']}</td></tr>"
        for figure, found in suite["metrics"].items()
        if not found["stage"]
    )
    table = (
        f"<table><tr><th>figure</th><th>value [95 % interval]</th><th></th><th>cases</th></tr>{figures}</table>"
        if figures
        else ""
    )
    data = (
        f"<p><small>data {suite['data_sha256'][:12]}, {suite['seconds']:,.0f} s{_earlier(suite)}</small></p>"
        if "seconds" in suite
        else ""
    )
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in _notes(suite))
    return (
        f'<section id="{escape(name)}"><h2>{escape(suite["title"])}</h2><p>{_prose(suite["about"])}</p>{notes}'
        f"{_stages(suite)}{table}{_groups(suite)}{_machine(kept) or _worst(name, suite, kept)}{data}</section>"
        if suite["metrics"]
        else f'<section id="{escape(name)}"><h2>{escape(suite["title"])}</h2>{notes}</section>'
    )


def _earlier(suite: Mapping[str, Any]) -> str:
    kept = suite.get("kept", 0)
    return f", {kept} of {suite['run']} cases kept from a run before" if kept else ""


def _prose(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _trust(found: Mapping[str, Any], suite: Mapping[str, Any]) -> str:
    """What is said beside a judge's figure."""
    if not found["judged"]:
        return ""
    value = suite.get("judge_kappa")
    if value is None:
        return " <small>(the judge was not held against labels: run the suite claims too)</small>"
    trusted = "" if value >= judge.TRUSTED else ", not trusted"
    return f" <small>(judge's κ {value:.2f}{trusted})</small>"


def _groups(suite: Mapping[str, Any]) -> str:
    if len(suite["groups"]) < 2:
        return ""
    units = {name: found["unit"] for name, found in headlines(suite)}
    head = "".join(f"<th>{escape(name)}</th>" for name in units)

    def cells(metrics: Mapping[str, Any]) -> str:
        return _cells({**metrics[name], "unit": unit} if name in metrics else None for name, unit in units.items())

    lines = "".join(
        f"<tr><td>{escape(group)}</td><td>{found['cases']}</td>{cells(found['metrics'])}</tr>"
        for group, found in suite["groups"].items()
    )
    return f"<h3>By group</h3><table><tr><th></th><th>cases</th>{head}</tr>{lines}</table>"


def _stages(suite: Mapping[str, Any]) -> str:
    """The figures of a pipeline's stages, a line for each stage."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, figure in suite["metrics"].items():
        if stage := figure["stage"]:
            found.setdefault(stage, {})[name.removeprefix(stage).strip()] = figure
    if not found:
        return ""
    names = list(dict.fromkeys(name for figures in found.values() for name in figures))
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    lines = "".join(
        f"<tr><td>{escape(stage)}</td>{_cells(figures.get(name) for name in names)}</tr>"
        for stage, figures in found.items()
    )
    cases = max(figure["n"] for figures in found.values() for figure in figures.values())
    return f"<h3>By stage</h3><p>{cases} cases.</p><table><tr><th></th>{head}</tr>{lines}</table>"


def _cells(figures: Iterable[Mapping[str, Any] | None]) -> str:
    """A figure a cell: value, interval, bar."""
    return "".join(f"<td>{shown(found)}<br>{_range(found)}</td>" if found else "<td>–</td>" for found in figures)


def _machine(kept: Sequence[Row]) -> str:
    lines = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in line)}</tr>" for line in _measured(kept))
    head = "<tr><th>part</th><th>figure</th><th>value</th><th>goal</th></tr>"
    return f"<h3>Every figure</h3><table>{head}{lines}</table>" if lines else ""


def _worst(name: str, suite: Mapping[str, Any], kept: Sequence[Row]) -> str:
    """The cases that scored least by the suite's headline columns, with all that explains them."""
    metrics = [m for m in SUITES[name].metrics if m.headline] if name in SUITES else []
    if not kept or not metrics:
        return ""

    def score(row: Row) -> float:
        found = []
        for metric in metrics:
            values = metric.values([row])
            value = float(metric.statistic(values))
            found.append(value if metric.better == "higher" else -value)
        return sum(found)

    cases = "".join(_case(row) for row in sorted(kept, key=score)[:WORST])
    return f"<h3>Worst cases</h3>{cases}"


def _case(row: Row) -> str:
    told = dict(row["shown"])
    question = str(told.pop("question", row["id"]))
    scores = ", ".join(f"{k} {v:.2f}" for k, v in row["scores"].items() if v is not None)
    error = f'<p class="note">{escape(row["error"])}</p>' if "error" in row else ""
    body = "".join(f"<dt>{escape(k)}</dt><dd>{_value(v)}</dd>" for k, v in told.items() if v not in (None, "", [], {}))
    return (
        f"<details><summary>{escape(question[:200])}</summary>{error}<p><small>{escape(row['id'])}: {escape(scores)}</small></p>"
        f"<dl class='case'>{body}</dl></details>"
    )


def _value(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "<ol>" + "".join(f"<li>{_value(item)}</li>" for item in value) + "</ol>"
    if isinstance(value, dict):
        return "; ".join(f"<b>{escape(str(k))}</b> {escape(str(v))}" for k, v in value.items())
    if isinstance(value, list):
        return escape(", ".join(map(str, value)))
    return escape(str(value))
