"""Kendall's τ between the order of similarities and that of closeness in a label, as a module of `evaluate`.

Shapes: Q queries, C candidates.
"""

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np

from raclap.retrieval.ordinality import similarity_order

_CITATION = """\
@article{kendall1945,
  title = {The treatment of ties in ranking problems},
  author = {Kendall, Maurice G.},
  journal = {Biometrika},
  year = {1945}
}
"""

_DESCRIPTION = """\
Whether candidates are the more similar to a query the closer they are to it in a continuous label such as valence:
the mean over queries of Kendall's τ-b between similarity and closeness, from -1 (opposite order) by way of 0
(unrelated) to 1 (same order).
"""

_INPUTS = """
Args:
    predictions: a row of similarities a query, one number a candidate; all rows are of one length.
    references: the label of each query; None or NaN where unknown.
    candidate_values: the label of each candidate; None or NaN where unknown. Left out: those of the queries, row and
        column i being a pair.

Returns:
    tau: mean over the queries that have an order; 0 for a query with equal similarities only.
    queries: how many these are.
    left_out: queries without a label, or to which all candidates are equally close.

Examples:
    >>> ordinality = evaluate.load("metrics/ordinality")
    >>> rows = [[1.0, 0.8, 0.1], [0.7, 1.0, 0.2], [0.6, 0.3, 1.0]]
    >>> ordinality.compute(predictions=rows[:2], references=[1.0, 2.0], candidate_values=[1.0, 2.0, 4.0])
    {'tau': 1.0, 'queries': 2, 'left_out': 0}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class Ordinality(evaluate.Metric):
    """The order that raclap.retrieval measures, on similarities that are already there."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {
                    "predictions": datasets.Sequence(datasets.Value("float64")),
                    "references": datasets.Value("float64"),
                }
            ),
        )

    def _compute(
        self,
        predictions: list[list[float]],
        references: list[float | None],
        candidate_values: Sequence[float | None] | None = None,
    ) -> dict[str, Any]:
        taus = similarity_order(predictions, references, candidate_values)
        measured = taus[~np.isnan(taus)]
        return {"tau": float(measured.mean()), "queries": len(measured), "left_out": len(taus) - len(measured)}
