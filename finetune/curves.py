"""Loss and metrics over steps as one PNG: training beside validation, so that overfitting is seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core import files


def draw(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws what Trainer logged (`step` with `loss`, `eval_loss` and other `eval_…`), written beside and renamed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    others = sorted({k for row in history for k in row if k.startswith("eval_") and k in _SHOWN})
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    loss, metrics = figure.subplots(1, 2)
    for name, style in (("loss", {"alpha": 0.5, "linewidth": 1}), ("eval_loss", {"marker": "o"})):
        points = [(row["step"], row[name]) for row in history if name in row]
        if points:
            loss.plot(*zip(*points, strict=True), label=_SHOWN.get(name, name), **style)
    loss.set(xlabel="step", ylabel="cross-entropy (nats)", title="Loss")
    for name in others:
        if name != "eval_loss":
            points = [(row["step"], row[name]) for row in history if name in row]
            metrics.plot(*zip(*points, strict=True), marker="o", label=_SHOWN[name])
    metrics.set(xlabel="step", ylim=(-0.02, 1.02), title="Held-out answers")
    for axes in (loss, metrics):
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    with files.replacing(path) as draft:
        figure.savefig(draft, dpi=120)


_SHOWN = {
    "loss": "training",
    "eval_loss": "validation",
    "eval_exam_accuracy": "exam accuracy",
    "eval_citation_precision": "citation precision",
    "eval_refusal_f1": "refusal F1",
}
