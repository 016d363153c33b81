"""Tables of candidates: any kind of table, paths that stay below their root, rows that are named."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raclap.corpora.candidate_table import find_recordings_below, read_candidates
from raclap.errors import ManifestError, RecipeError

ROWS = [
    {"prompt": "a calm voice", "candidate": "takes/1.wav"},
    {"prompt": "a calm voice", "candidate": "takes/2.wav"},
    {"prompt": "a sad voice", "candidate": "takes/3.wav"},
]


def write(folder, rows=ROWS, suffix=".csv"):
    path = folder / f"takes{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows), ""]
        path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_rows_of_every_kind_of_table(suffix, tmp_path):
    candidates, left_out = read_candidates(write(tmp_path, suffix=suffix))
    assert [(own.prompt, own.clip) for own in candidates] == [
        (row["prompt"], tmp_path / row["candidate"]) for row in ROWS
    ]
    assert left_out == [] and {own.reference for own in candidates} == {own.id for own in candidates} == {None}
    elsewhere = tmp_path / "audio"
    elsewhere.mkdir()
    candidates, _ = read_candidates(write(tmp_path, suffix=suffix), elsewhere)
    assert candidates[0].clip == elsewhere / "takes/1.wav"


def test_columns_are_renamed_and_absolute_paths_below_the_root_are_taken(tmp_path):
    rows = [{"wav": str(tmp_path / "1.wav"), "style": "calm", "voice": "ref.wav", "utterance": "u1"}]
    names = {"candidate": "wav", "prompt": "style", "reference": "voice", "id": "utterance"}
    (found,), _ = read_candidates(write(tmp_path, rows), columns=names)
    assert (found.clip, found.reference, found.id) == (tmp_path / "1.wav", tmp_path / "ref.wav", "u1")


def test_an_empty_reference_is_none(tmp_path):
    (found,), _ = read_candidates(write(tmp_path, [{**ROWS[0], "reference": ""}]))
    assert found.reference is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "", "candidate": "1.wav"}, "column 'prompt' is empty"),
        ({"prompt": "calm", "candidate": ""}, "column 'candidate' is empty"),
        ({"prompt": "calm", "candidate": "../1.wav"}, "column 'candidate' is '../1.wav', which leaves the audio root"),
        ({"prompt": "calm", "candidate": "/etc/1.wav"}, "which leaves the audio root"),
        ({"prompt": "calm", "candidate": "out/1.wav"}, "which leaves the audio root"),
        ({"prompt": "calm", "candidate": "1.wav", "reference": "a/../../b.wav"}, "column 'reference' is 'a/../../b"),
        ({"prompt": "calm", "candidate": "1.wav", "id": ""}, "column 'id' is empty"),
    ],
)
def test_a_bad_row_is_named_or_left_out(row, message, tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "out").symlink_to(tmp_path)
    good = {name: "1.wav" if name == "candidate" else "x" for name in row}
    table = write(tmp_path / "tables", [good, row, good])
    with pytest.raises(ManifestError, match=f"^{table}: row 2: .*{message}"):
        read_candidates(table)
    candidates, left_out = read_candidates(table, skip_bad=True)
    assert len(candidates) == 2
    assert [own.where for own in left_out] == ["takes.csv, row 2"] and message in left_out[0].reason


def test_rows_of_one_id_must_ask_for_the_same(tmp_path):
    rows = [{**row, "id": "one"} for row in ROWS]
    with pytest.raises(ManifestError, match="row 3: id 'one' has the prompt 'a sad voice', but 'a calm voice' in"):
        read_candidates(write(tmp_path, rows))


def test_unknown_and_missing_columns_are_named(tmp_path):
    table = write(tmp_path)
    with pytest.raises(RecipeError, match=r"columns: no 'promt'; expected .*, id; prompt\?"):
        read_candidates(table, columns={"promt": "prompt"})
    with pytest.raises(ManifestError, match="no column 'style'; the columns are prompt, candidate"):
        read_candidates(table, columns={"prompt": "style"})
    with pytest.raises(ManifestError, match="no column 'voice'"):
        read_candidates(table, columns={"reference": "voice"})
    with pytest.raises(RecipeError, match=r"audio_root: .*nowhere is no folder"):
        read_candidates(table, tmp_path / "nowhere")
    with pytest.raises(ManifestError, match="no such table"):
        read_candidates(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("prompt,candidate\n")
    with pytest.raises(ManifestError, match=r"empty\.csv: no rows"):
        read_candidates(tmp_path / "empty.csv")


def test_recordings_of_a_folder_are_found_in_order_and_hidden_ones_are_not(tmp_path):
    for name in ("b.wav", "a/c.FLAC", ".hidden.wav", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_recordings_below(tmp_path) == [tmp_path / "a/c.FLAC", tmp_path / "b.wav"]
    (tmp_path / "none").mkdir()
    with pytest.raises(ManifestError, match="none: no recording"):
        find_recordings_below(tmp_path / "none")
