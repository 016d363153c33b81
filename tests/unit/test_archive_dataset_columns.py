"""Which columns of a data set an index keeps, under which names, as what."""

import datasets
import pyarrow as pa
import pytest

from raclap.archive.dataset_columns import DatasetColumns, columns_of


def test_columns_get_names_that_a_filter_can_say() -> None:
    rows = pa.table(
        {
            "Speaker": ["ann", None],
            "Age Group": ["old", "young"],
            "age": [63, 21],
            "json": [{"SNR-dB": 12.5, "tags": ["x"]}, {"SNR-dB": float("nan"), "tags": []}],
            "duration": [1.5, 2.5],
            "split": ["mine", "yours"],
            "is_noisy": [True, None],
            "mood": [1, -1],
            "arousal": pa.array([0.1, 0.2], pa.float64()),
            "2nd": [2**40, 3],
            "vector": [[0.5], [0.5]],
            "made": pa.array([0, 1], pa.timestamp("s")),
            "__url__": ["x", "y"],
            "age group": ["twice", "twice"],
        }
    )
    features = datasets.Features.from_arrow_schema(rows.schema)
    features["mood"] = datasets.ClassLabel(names=["calm", "angry"])
    columns = DatasetColumns("voices", columns_of(rows.schema, features))
    names = [field.name for field in columns.fields]
    told = [dict(zip(names, facts, strict=True)) for facts in columns.facts(rows, "train", 2)]
    assert told[0] == {
        "corpus": "voices", "split": "train", "speaker": "ann", "age_group": "old", "dataset_age": 63,
        "json_snr_db": 12.5, "dataset_duration": 1.5, "dataset_split": "mine", "is_noisy": True, "mood": "angry",
        "arousal": pytest.approx(0.1), "dataset_2nd": 2**40, "age_group_2": "twice",
    }  # fmt: skip
    assert [told[1][name] for name in ("speaker", "json_snr_db", "is_noisy", "mood")] == [None] * 4
    kinds = {field.name: field.type for field in columns.fields}
    assert [kinds[name] for name in ("arousal", "dataset_age", "is_noisy")] == [pa.float32(), pa.float64(), pa.bool_()]
    assert told[0]["arousal"] == pa.scalar(0.1, pa.float32()).as_py(), "as the index gives it back"


def test_what_a_data_file_lacks_is_not_known() -> None:
    columns = DatasetColumns("voices", columns_of(pa.schema({"text": pa.string(), "n": pa.int8()}), {}))
    assert list(columns.facts(pa.table({"n": pa.array([1, 2], pa.int32())}), "a", 2)) == [
        ("voices", "a", None, 1), ("voices", "a", None, 2),
    ]  # fmt: skip
    assert list(columns.facts(pa.table({}), "a", 1)) == [("voices", "a", None, None)]
    with pytest.raises(pa.ArrowInvalid):
        list(columns.facts(pa.table({"n": ["many"]}), "a", 1))
