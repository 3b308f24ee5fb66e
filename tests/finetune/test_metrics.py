"""Metrics against numbers worked by hand."""

from __future__ import annotations

import pytest

from finetune import metrics


def test_citation_precision() -> None:
    # Markers: [1] right, [2] wrong, [3] right, [3] right: three of four.
    assert metrics.citation_precision(["a [1]. b [2].", "c [3] d [3]"], [[1], [3, 4]]) == 0.75
    assert metrics.citation_precision(["no marker"], [[1]]) == 0.0


def test_refusal() -> None:
    # Refused 3, of which 2 rightly; 4 were to be refused: P = 2/3, R = 1/2, F1 = 4/7.
    given = [True, True, True, False, False, False]
    wanted = [True, True, False, True, True, False]
    assert metrics.refusal(given, wanted) == pytest.approx((2 / 3, 1 / 2, 4 / 7))
    assert metrics.refusal([False, False], [True, False]) == (0.0, 0.0, 0.0)


def test_accuracy() -> None:
    assert metrics.accuracy([0, 1, 2, 3], [0, 1, 1, 1]) == 0.5
