"""The verifier on claims whose support is known: data/eval/claims.jsonl, a passage with one claim it holds and one it does not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agents.verifier import Claim, supported

if TYPE_CHECKING:
    from serving.client import ChatClient

Row = dict[str, Any]


def by_model(client: ChatClient) -> Callable[[Row], Row]:
    """Judges one claim."""

    def run(case: Row) -> Row:
        value = supported(client, Claim(case["claim"], case["quote"], case["note"]))
        return _row(case, value)

    return run


def by_words(case: Row) -> Row:
    """The baseline: the share of the claim's longer words that stand in the passage."""
    words = re.findall(r"\w{4,}", case["claim"].casefold())
    held = set(re.findall(r"\w{4,}", case["quote"].casefold()))
    return _row(case, sum(w in held for w in words) / max(1, len(words))) | {"seconds": 0.0}


def auc(rows: Sequence[Row]) -> float:
    """Probability that a supported claim scores above an unsupported one."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score([r["supported"] for r in rows], [r["support"] for r in rows]))


def pairs_right(rows: Sequence[Row]) -> float:
    """Share of passages whose supported claim scores above the unsupported one; ties count half."""
    by_passage: dict[str, list[Row]] = {}
    for row in rows:
        by_passage.setdefault(row["passage"], []).append(row)
    whole = [sorted(pair, key=lambda r: r["supported"]) for pair in by_passage.values() if len(pair) == 2]
    scored = [(yes["support"] > no["support"]) + 0.5 * (yes["support"] == no["support"]) for no, yes in whole]
    return float(sum(scored) / max(1, len(scored)))


def table(measured: Mapping[str, Sequence[Row]], threshold: float) -> Iterator[str]:
    """A Markdown table: AUC, pairs in the right order, and how many claims of each kind are taken as supported."""
    kinds = list(dict.fromkeys((row["supported"], row["kind"]) for rows in measured.values() for row in rows))
    kinds.sort(key=lambda kind: (not kind[0], kind[1]))
    heads = [f"{name} ({'yes' if yes else 'no'})" for yes, name in kinds]
    yield "| | AUC | pairs | " + " | ".join(heads) + " | seconds |"
    yield "|---" * (len(kinds) + 4) + "|"
    for name, rows in measured.items():
        cells = []
        for yes, kind in kinds:
            mine = [r for r in rows if (r["supported"], r["kind"]) == (yes, kind)]
            cells.append(f"{sum(r['support'] >= threshold for r in mine)}/{len(mine)}")
        seconds = sorted(r["seconds"] for r in rows)[len(rows) // 2]
        yield f"| {name} | {auc(rows):.2f} | {pairs_right(rows):.2f} | " + " | ".join(cells) + f" | {seconds:.1f} |"


def _row(case: Row, support: float) -> Row:
    return {
        "id": case["id"],
        "kind": case["kind"],
        "supported": case["supported"],
        "passage": case["quote"],
        "support": round(support, 4),
    }
