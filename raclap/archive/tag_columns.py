"""The table of tags: its columns, and what stands in them.

Shapes: n passages of a block, L labels of all groups, l of one group.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from raclap.archive.tag_passages import Passages
from raclap.errors import RecipeError
from raclap.retrieval.protocol import Protocol

NONE = -1  # place of the best label where none reaches the threshold

_OF_BOTH = {"source": pa.string(), "root": pa.string(), "recording": pa.string()}
_OF_WINDOWS = {**_OF_BOTH, "window": pa.int32(), "start": pa.float64(), "end": pa.float64()}
_OF_RECORDINGS = {**_OF_BOTH, "windows": pa.int32(), "seconds": pa.float64()}


@dataclass(frozen=True)
class LabelColumns:
    """Columns of labels by group: GROUP, GROUP_margin and GROUP:LABEL for each label.

    Attributes:
        labels: names of each group, in the order of the vocabulary.
    """

    labels: dict[str, tuple[str, ...]]

    def schema(self, of_recordings: bool, facts: dict[str, Any]) -> pa.Schema:
        """Columns of the table, and under the key `raclap` what they are of, as JSON."""
        known = _OF_RECORDINGS if of_recordings else _OF_WINDOWS
        found = [pa.field(name, kind) for name, kind in known.items()]
        for group, labels in self.labels.items():
            found.append(pa.field(group, pa.dictionary(pa.int32(), pa.string())))
            found.append(pa.field(f"{group}_margin", pa.float32()))
            found += [pa.field(f"{group}:{label}", pa.float32()) for label in labels]
        return pa.schema(found, {"raclap": json.dumps(facts, ensure_ascii=False)})

    def best(self, probabilities: np.ndarray, threshold: float) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """The best label of each passage by group, and how far it is above the second.

        Args:
            probabilities: (n, L).
            threshold: least probability of a best label.

        Returns:
            Places (n,) among the labels of the group, `NONE` below the threshold; margins (n,).
        """
        best, margins = {}, {}
        for group, part in self._parts(probabilities).items():
            second, first = np.partition(part, -2, axis=1)[:, -2:].T
            best[group] = np.where(first >= threshold, part.argmax(1), NONE)
            margins[group] = first - second
        return best, margins

    def table(
        self,
        passages: Passages,
        best: dict[str, np.ndarray],
        margins: dict[str, np.ndarray],
        schema: pa.Schema,
    ) -> pa.Table:
        """A block of the table; `best` and `margins` as `LabelColumns.best` gives them."""
        known = {"source": passages.sources, "root": passages.roots, "recording": passages.recordings}
        known |= {"start": passages.start, "end": passages.end, "seconds": passages.seconds}
        known |= dict.fromkeys(("window", "windows"), passages.numbers)
        columns = [pa.array(known[name], schema.field(name).type) for name in schema.names if name in known]
        for group, part in self._parts(passages.probabilities).items():
            places = pa.array(best[group], pa.int32(), mask=best[group] == NONE)
            columns.append(pa.DictionaryArray.from_arrays(places, pa.array(self.labels[group])))
            columns += [pa.array(values, pa.float32()) for values in (margins[group], *part.T)]
        return pa.Table.from_arrays(columns, schema=schema)

    def _parts(self, probabilities: np.ndarray) -> dict[str, np.ndarray]:
        """(n, l) probabilities of each group from those of all (n, L)."""
        edges = np.cumsum([len(labels) for labels in self.labels.values()])[:-1]
        return dict(zip(self.labels, np.split(probabilities, edges, axis=1), strict=True))


def label_columns(groups: Sequence[Protocol]) -> LabelColumns:
    """Columns of a vocabulary.

    Raises:
        RecipeError: two columns would have the same name.
    """
    columns = LabelColumns({group.name: group.classes for group in groups})
    seen = {*_OF_WINDOWS, *_OF_RECORDINGS}
    for group, labels in columns.labels.items():
        for name in (group, f"{group}_margin", *(f"{group}:{label}" for label in labels)):
            if name in seen:
                raise RecipeError(f"the group '{group}' would make a second column '{name}'; give it another name")
            seen.add(name)
    return columns
