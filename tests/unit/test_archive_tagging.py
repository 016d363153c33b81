import json

import matplotlib.image
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
import torch.nn.functional as F
from pyarrow import parquet

from raclap.archive import tagging
from raclap.archive.facts import ArchiveError, IndexFacts, ModelFacts
from raclap.archive.store import ArchiveIndex
from raclap.archive.tag_figure import TagFigureError, save_tag_figure, tag_note, tag_table
from raclap.archive.tag_passages import OwnTime, Passages, of_recordings
from raclap.archive.tagging import CALIBRATED, SOFTMAX, tag_archive
from raclap.errors import RecipeError
from raclap.model_folder import load_model_folder
from raclap.retrieval.classification import classify
from raclap.retrieval.protocol import Protocol
from raclap.retrieval.zero_shot import embed_prompts

PITCH = Protocol(
    "pitch", "", {"low": ("a low voice",), "normal": ("a normal voice",), "high": ("a high voice", "high")}
)
VOLUME = Protocol("volume", "", {"quiet": ("a quiet voice",), "loud": ("a loud voice",)})
CALIBRATION = {"slope": 4.0, "intercept": -0.5, "quantiles": [-1.0, 0.0, 1.0]}
# Windows of 4 s every 2 s: recordings of 8, 4, 6, 4 and 10 seconds, of which two have one name.
LENGTHS = {
    ("/one", "a.wav"): 3,
    ("/one", "b.wav"): 1,
    ("/one", "c.wav"): 2,
    ("/two", "c.wav"): 1,
    ("/two", "d.wav"): 4,
}


@pytest.fixture(scope="module")
def loaded(teacher_folder):
    return load_model_folder(teacher_folder)


@pytest.fixture
def model(loaded, monkeypatch):
    monkeypatch.setattr(loaded[0].config, "calibration", CALIBRATION)
    return loaded[0]


@pytest.fixture(scope="module")
def vectors(loaded) -> np.ndarray:
    """Vectors that lean to one sentence or the other: (11, D) float16."""
    model, processor = loaded
    texts = torch.cat(
        [embeds for group in (PITCH, VOLUME) for embeds in embed_prompts(model, processor, group).values()]
    )
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(sum(LENGTHS.values()), len(texts), generator=generator) @ (texts - texts.mean(0))
    return F.normalize(mixed + 0.3 * texts.mean(0), dim=-1).numpy().astype(np.float16)


@pytest.fixture(scope="module")
def index(tmp_path_factory, vectors, loaded) -> ArchiveIndex:
    made_by = ModelFacts("m", {"model.safetensors": "0"}, vectors.shape[1], 16_000)
    archive = ArchiveIndex.create(tmp_path_factory.mktemp("archive") / "index", IndexFacts(made_by, 4.0, 2.0))
    names = [(root, name, window) for (root, name), count in LENGTHS.items() for window in range(count)]
    starts = np.array([2.0 * window for _, _, window in names])
    rows = {
        "recording": [name for _, name, _ in names],
        "root": [root for root, _, _ in names],
        "window": pa.array([window for _, _, window in names], pa.int32()),
        "windows": pa.array([LENGTHS[root, name] for root, name, _ in names], pa.int32()),
        "start": starts,
        "end": starts + 4,
        "duration": pa.array([4.0] * len(names), pa.float32()),
        "size": [1] * len(names),
        "mtime_ns": [1] * len(names),
        "sha256": [""] * len(names),
        "sex": ["female" if name == "a.wav" else "male" for _, name, _ in names],
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1]),
    }
    table = pa.table(rows)
    for root in ("/one", "/two"):
        archive.append(table.filter(pc.equal(table["root"], root)))
    return ArchiveIndex.open(archive.path)


def cosines(loaded, vectors: np.ndarray, group: Protocol) -> np.ndarray:
    """(W, l) by the definition, one label at a time."""
    model, processor = loaded
    directions = [
        F.normalize(F.normalize(e, dim=-1).mean(0), dim=-1) for e in embed_prompts(model, processor, group).values()
    ]
    units = F.normalize(torch.from_numpy(vectors.astype(np.float32)), dim=-1)
    return torch.stack([units @ direction for direction in directions], 1).double().numpy()


@pytest.mark.parametrize("block", [1, 4, 16_384])
def test_probabilities_are_those_of_the_calibration_and_the_best_label_that_of_classify(
    loaded, model, index, vectors, tmp_path, monkeypatch, block
):
    monkeypatch.setattr(tagging, "_BLOCK", block)
    output = tmp_path / "tags.parquet"
    summary = tag_archive(index, model, loaded[1], [PITCH, VOLUME], output, progress=False)
    tags = parquet.read_table(output)
    places = zip(*(tags[name].to_pylist() for name in ("root", "recording", "window", "start", "end")), strict=True)
    assert list(places) == [(*key, n, 2.0 * n, 2.0 * n + 4) for key, count in LENGTHS.items() for n in range(count)]
    for group in (PITCH, VOLUME):
        expected = 1 / (1 + np.exp(0.5 - 4.0 * cosines(loaded, vectors, group)))
        found = np.stack([tags[f"{group.name}:{label}"].to_numpy() for label in group.classes], 1)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        first, second = np.sort(expected)[:, ::-1][:, :2].T
        np.testing.assert_allclose(tags[f"{group.name}_margin"].to_numpy(), first - second, atol=1e-6)
        best = classify(torch.from_numpy(vectors.astype(np.float32)), embed_prompts(*loaded, group))
        assert tags[group.name].to_pylist() == best and len(set(best)) > 1
    assert (summary.probabilities, summary.rows, summary.rows_are) == (CALIBRATED, 11, "windows")
    facts = json.loads(tags.schema.metadata[b"raclap"])
    assert (facts["probabilities"], facts["model"]) == (CALIBRATED, "m")


def test_time_that_windows_share_counts_once(loaded, model, index, tmp_path):
    output = tmp_path / "tags.parquet"
    summary = tag_archive(index, model, loaded[1], [PITCH], output, progress=False)
    assert summary.total_hours * 3600 == pytest.approx(8 + 4 + 6 + 4 + 10)
    tags = parquet.read_table(output)
    own = [4.0 if window == 0 else 2.0 for window in tags["window"].to_pylist()]
    for label, hours in summary.hours["pitch"].items():
        expected = sum(seconds for seconds, best in zip(own, tags["pitch"].to_pylist(), strict=True) if best == label)
        assert hours * 3600 == pytest.approx(expected)


@pytest.mark.parametrize("block", [1, 4, 16_384])
def test_a_recording_is_the_mean_of_its_windows_whatever_the_blocks(
    loaded, model, index, vectors, tmp_path, monkeypatch, block
):
    monkeypatch.setattr(tagging, "_BLOCK", block)
    output = tmp_path / "tags.parquet"
    summary = tag_archive(index, model, loaded[1], [VOLUME], output, by_recording=True, progress=False)
    tags = parquet.read_table(output)
    assert list(zip(tags["root"].to_pylist(), tags["recording"].to_pylist(), strict=True)) == list(LENGTHS)
    assert tags["windows"].to_pylist() == list(LENGTHS.values())
    assert tags["seconds"].to_pylist() == [8.0, 4.0, 6.0, 4.0, 10.0]
    windows = 1 / (1 + np.exp(0.5 - 4.0 * cosines(loaded, vectors, VOLUME)))
    parts = np.split(windows, np.cumsum(list(LENGTHS.values()))[:-1])
    expected = [np.average(part, axis=0, weights=[4.0, *[2.0] * (len(part) - 1)]) for part in parts]
    found = np.stack([tags[f"volume:{label}"].to_numpy() for label in VOLUME.classes], 1)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert tags["volume"].to_pylist() == [VOLUME.classes[row.argmax()] for row in np.array(expected)]
    assert (summary.rows, summary.rows_are) == (5, "recordings")
    assert sum(summary.hours["volume"].values()) == pytest.approx(32 / 3600)


def test_recordings_of_one_name_are_told_apart_by_their_source():
    own = OwnTime()
    sources, names = np.array(["/a", "/a", "b.parquet", "/c"]), np.array(["x.wav"] * 4)
    start, end = np.array([0.0, 5.0, 0.0, 0.0]), np.array([10.0, 15.0, 8.0, 3.0])
    seconds = own.of(sources, names, start, end)
    assert seconds.tolist() == [10.0, 5.0, 8.0, 3.0]
    roots = np.array(["/a", "/a", "/a", "/c"])
    block = Passages(sources, roots, names, np.array([0, 1, 0, 0]), start, end, seconds, np.ones((4, 1)))
    passages = list(of_recordings([block.part(slice(3)), block.part(slice(3, None))]))
    assert [each.sources.tolist() for each in passages] == [["/a"], ["b.parquet"], ["/c"]]
    assert [each.numbers.tolist() for each in passages] == [[2], [1], [1]]


def test_without_a_calibration_labels_of_a_group_share_one(loaded, index, vectors, tmp_path, monkeypatch):
    model, processor = loaded
    monkeypatch.setattr(model.config, "calibration", None)
    output = tmp_path / "tags.parquet"
    summary = tag_archive(index, model, processor, [PITCH, VOLUME], output, progress=False)
    tags = parquet.read_table(output)
    for group in (PITCH, VOLUME):
        powers = np.exp(model.logit_scale.item() * cosines(loaded, vectors, group))
        found = np.stack([tags[f"{group.name}:{label}"].to_numpy() for label in group.classes], 1)
        np.testing.assert_allclose(found, powers / powers.sum(1, keepdims=True), atol=1e-5)
    assert summary.probabilities == SOFTMAX and "not calibrated" in tag_note(summary)


def test_a_threshold_leaves_windows_without_a_label(loaded, model, index, vectors, tmp_path):
    best = (1 / (1 + np.exp(0.5 - 4.0 * cosines(loaded, vectors, PITCH)))).max(1)
    threshold = float(np.median(best))
    output = tmp_path / "tags.parquet"
    summary = tag_archive(index, model, loaded[1], [PITCH], output, threshold=threshold, progress=False)
    found = parquet.read_table(output)["pitch"].to_pylist()
    assert [label is None for label in found] == (best < threshold).tolist() and None in found
    assert summary.hours["pitch"][None] > 0
    assert sum(summary.hours["pitch"].values()) == pytest.approx(summary.total_hours)


def test_a_filter_chooses_rows(loaded, model, index, tmp_path):
    output = tmp_path / "tags.parquet"
    tag_archive(index, model, loaded[1], [PITCH], output, where="sex = 'female'", progress=False)
    assert parquet.read_table(output)["recording"].to_pylist() == ["a.wav"] * 3
    for where, message in (("sx = 'female'", "did you mean 'sex'"), ("sex = 'x'", "none of its windows fits --where")):
        with pytest.raises(ArchiveError, match=message):
            tag_archive(index, model, loaded[1], [PITCH], tmp_path / "none.parquet", where=where, progress=False)
    assert not (tmp_path / "none.parquet").exists()


def test_an_empty_index_clashing_groups_and_a_folder_that_cannot_be_written_are_refused(
    loaded, model, index, vectors, tmp_path
):
    (tmp_path / "file").touch()
    empty = ArchiveIndex.create(tmp_path / "empty", index.facts)
    with pytest.raises(ArchiveError, match="it is empty"):
        tag_archive(empty, model, loaded[1], [PITCH], progress=False)
    for name in ("start", "volume:loud"):
        clash = Protocol(name, "", PITCH.prompts)
        with pytest.raises(RecipeError, match=f"'{name}'; give it another name"):
            tag_archive(index, model, loaded[1], [VOLUME, clash], progress=False)
    with pytest.raises(ArchiveError, match="cannot be written"):
        tag_archive(index, model, loaded[1], [PITCH], tmp_path / "file" / "tags.parquet", progress=False)
    with pytest.raises(TagFigureError, match="cannot be written"):
        save_tag_figure(tag_archive(index, model, loaded[1], [PITCH], progress=False), tmp_path / "file" / "a.png")


def test_what_is_written_is_whole_or_not_at_all(loaded, model, index, tmp_path, monkeypatch):
    output = tmp_path / "tags.parquet"
    output.write_text("former")
    monkeypatch.setattr(tagging, "_BLOCK", 4)
    rows, calls = index.rows, []

    def fail_in_the_second_block(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise ArchiveError("gone")
        return rows(*arguments)

    monkeypatch.setattr(index, "rows", fail_in_the_second_block)
    with pytest.raises(ArchiveError, match="gone"):
        tag_archive(index, model, loaded[1], [PITCH], output, progress=False)
    assert output.read_text() == "former" and list(tmp_path.iterdir()) == [output]


def test_table_and_figure_show_every_label_with_the_commonest_first(loaded, model, index, tmp_path):
    summary = tag_archive(index, model, loaded[1], [PITCH, VOLUME], threshold=0.5, progress=False)
    table = tag_table(summary)
    labels, times = (list(table.columns[place].cells) for place in (1, 2))
    assert set(labels[:3]) == set(PITCH.classes) and labels[3] == "none reaches 0.5"
    assert [float(time.split()[0]) for time in times[:3]] == sorted(
        (float(t.split()[0]) for t in times[:3]), reverse=True
    )
    save_tag_figure(summary, tmp_path / "tags.png")
    height, width, _ = matplotlib.image.imread(tmp_path / "tags.png").shape
    assert 400 < height < 1200 < width
