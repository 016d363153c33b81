from collections.abc import Sequence
from pathlib import Path

import pytest

from raclap.data.manifest import Caption, Manifest, Pair, read_manifest, write_manifest
from raclap.errors import ManifestError
from raclap.retrieval.labels import find_labels, values_of
from raclap.retrieval.protocol import Protocol


def manifest(folder: Path, rows: Sequence[dict]) -> Manifest:
    pairs = [
        Pair(f"row-{number}", f"{number}.wav", (Caption("a voice"),), "voices", "test", **values)
        for number, values in enumerate(rows)
    ]
    write_manifest(folder / "m.parquet", pairs, folder)
    return read_manifest(folder / "m.parquet")


def protocol(column: str, **more) -> Protocol:
    prompts = {name: (f"a {name} voice",) for name in ("sad", "happy", "angry")}
    return Protocol("mood", column, prompts, origin="mood.yaml", **more)


def test_labels_of_a_column_are_mapped_left_out_and_counted(tmp_path):
    words = ["sad", "excited", None, "other", "happy", None, "sad"]
    rows = manifest(tmp_path, [{"emotion": word} for word in words])
    found = find_labels(rows, protocol("emotion", labels={"excited": "happy"}, leave_out=("other",)))
    assert found.rows == (0, 1, 4, 6)
    assert found.labels == ("sad", "happy", "happy", "sad")
    assert found.left_out == {"no 'emotion'": 2, "'emotion' is other": 1}
    assert list(found.left_out) == ["no 'emotion'", "'emotion' is other"]


def test_tags_of_several_classes_are_no_label(tmp_path):
    tags = [
        ("mood:sad", "voice:deep"), ("mood:sad", "mood:angry"), ("mood:sad", "mood:other"), ("voice:deep",),
        ("mood:glad", "mood:happy"), ("mood:other",),
    ]  # fmt: skip
    rows = manifest(tmp_path, [{"tags": each} for each in tags])
    found = find_labels(rows, protocol("mood", labels={"glad": "happy"}, leave_out=("other",)))
    assert list(zip(found.rows, found.labels, strict=True)) == [(0, "sad"), (2, "sad"), (4, "happy")]
    assert found.left_out == {"several classes": 1, "no 'mood'": 1, "'mood' is other": 1}


def test_attributes_come_before_columns(tmp_path):
    rows = manifest(
        tmp_path, [{"age": "64", "attributes": {"age": "elderly"}}, {"age": "9", "attributes": {"age": "child"}}]
    )
    assert values_of(rows, "age") == ("child", "elderly")


@pytest.mark.parametrize(
    ("rows", "column", "message"),
    [
        (["sad", "hapy"], "emotion", r"row row-1: 'emotion' is 'hapy', which is no class \(did you mean 'happy'\?\)"),
        (
            ["sad", "bored"],
            "emotion",
            r"row row-1: .* the classes of mood\.yaml are sad, happy, angry: name 'bored' under 'labels' or",
        ),
        (["sad", "sad"], "emotion", "only the class 'sad' is among the labels 'emotion' of these 2 rows"),
        (["other", None], "emotion", "none of the classes is among the labels"),
        (["sad", "happy"], "emotoin", r"no row has a label 'emotoin' \(did you mean 'emotion'\?\); there are the tag"),
        (["sad", "happy"], "valence", "the column 'valence' holds numbers"),
        (["sad", "happy"], "pair_id", "the column 'pair_id' holds no labels"),
        ([None, None], "emotion", "no row has a label 'emotion'"),
    ],
)
def test_labels_that_cannot_be_classified_name_file_row_and_label(tmp_path, rows, column, message):
    found = manifest(tmp_path, [{"emotion": word, "attributes": {"pitch": "low"}, "tags": ("a:b",)} for word in rows])
    with pytest.raises(ManifestError, match=rf"m\.parquet: {message}"):
        find_labels(found, protocol(column, leave_out=("other",)))


def test_what_there_is_is_named(tmp_path):
    rows = manifest(tmp_path, [{"sex": "female", "attributes": {"pitch": "low"}, "tags": ("mood:sad", "deep")}])
    with pytest.raises(ManifestError, match=r"tag groups mood, the attributes pitch, the columns corpus, sex$"):
        find_labels(rows, protocol("nothing"))


@pytest.mark.parametrize(("number", "said"), [(1, "one value alone, 'v0'"), (101, "101 values")])
def test_values_that_are_no_classes(tmp_path, number, said):
    rows = manifest(tmp_path, [{"attributes": {"mood": f"v{each}"}} for each in range(number)])
    with pytest.raises(ManifestError, match=f"'mood' has {said}; expected 2 to 100 classes"):
        values_of(rows, "mood")
