"""R@k, mAP@10, nDCG@10 and median rank from rows of similarities, as a module of `evaluate`.

Shapes: Q queries, C candidates.
"""

from typing import Any

import datasets
import evaluate
import numpy as np
import torch

from raclap.retrieval.metrics import EmbeddingError, rank_scores

_CITATION = """\
@article{jarvelin2002,
  title = {Cumulated gain-based evaluation of {IR} techniques},
  author = {J{\\"a}rvelin, Kalervo and Kek{\\"a}l{\\"a}inen, Jaana},
  journal = {ACM Transactions on Information Systems},
  year = {2002}
}
"""

_DESCRIPTION = """\
How high the right candidates come in lists ordered by similarity: R@1, R@5, R@10, mAP@10 and nDCG@10 in percent, and
the median rank. A tie counts against the right candidate, so a model that gives all candidates the same similarity
gets no credit for it.
"""

_INPUTS = """
Args:
    predictions: a row of similarities a query, one number a candidate; all rows are of one length.
    references: what is right for each query: the index of its candidate, or a list of indices where several are.

Returns:
    R@1, R@5, R@10: percent of the queries with a right candidate among the first 1, 5, 10.
    mAP@10: mean over queries of AP@10, which divides by the number of right candidates or 10, in percent.
    nDCG@10: with gain 1 for what is right, in percent.
    median_rank: of the first right candidate, from 1.

Examples:
    >>> retrieval = evaluate.load("metrics/retrieval")
    >>> found = retrieval.compute(predictions=[[0.9, 0.1, 0.3], [0.8, 0.2, 0.1]], references=[0, 1])
    >>> found["R@1"], found["R@5"], found["mAP@10"], found["median_rank"]
    (50.0, 100.0, 75.0, 1.5)
"""

_NAMES = {
    "R@1": "R@1",
    "R@5": "R@5",
    "R@10": "R@10",
    "mAP@10": "style_mAP@10",  # of sets; of a set of one it is that of the pair
    "nDCG@10": "nDCG@10",
}


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class Retrieval(evaluate.Metric):
    """The metrics of raclap.retrieval on similarities that are already there."""

    def _info(self) -> evaluate.MetricInfo:
        rows = datasets.Sequence(datasets.Value("float64"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=[
                datasets.Features({"predictions": rows, "references": datasets.Sequence(datasets.Value("int64"))}),
                datasets.Features({"predictions": rows, "references": datasets.Value("int64")}),
            ],
        )

    def _compute(self, predictions: list[list[float]], references: list[int] | list[list[int]]) -> dict[str, Any]:
        C = len(predictions[0])
        for query, row in enumerate(predictions):
            if len(row) != C:
                raise EmbeddingError(
                    f"query {query} has {len(row)} similarities, the first {C}: expected equally many"
                )
        relevant = torch.zeros(len(predictions), C, dtype=torch.bool)
        for query, given in enumerate(references):
            for candidate in [given] if isinstance(given, int) else given:
                if not 0 <= candidate < C:
                    raise EmbeddingError(
                        f"query {query}: there is no candidate {candidate}; they go from 0 to {C - 1}"
                    )
                relevant[query, candidate] = True
        scores = rank_scores(torch.tensor(predictions, dtype=torch.float64), relevant)
        means = {name: float(scores.values(metric).mean()) for name, metric in _NAMES.items()}
        return {**means, "median_rank": float(np.median(scores.values("median_rank")))}
