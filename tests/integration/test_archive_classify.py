"""`raclap index`, then `raclap classify` after the recordings are gone."""

import shutil
import sys

import numpy as np
import pytest
from pyarrow import parquet

from conftest import make_corpus
from raclap.archive.indexing import index_archive
from raclap.cli import main
from raclap.data.collection import read_split
from raclap.model_folder import load_model_folder
from raclap.retrieval.classification import class_embeds
from raclap.retrieval.embed import embed_audio
from raclap.retrieval.protocol import load_protocol
from raclap.retrieval.zero_shot import embed_prompts

PROTOCOL = "column: emotion\nclasses: {low: [a low voice], normal: [a normal voice], high: [a high voice]}\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory, teacher_folder):
    """An index of a corpus whose recordings are gone, and what the labels had of each before."""
    folder = tmp_path_factory.mktemp("world")
    manifest = make_corpus(folder, "tones", {"test": 18})
    (folder / "pitch.yaml").write_text(PROTOCOL)
    (folder / "styles.csv").write_text("label\nvolume:quiet\nvolume:loud\n")
    model, processor = load_model_folder(teacher_folder)
    corpus = read_split(manifest, "test", processor.feature_extractor)
    embeds = embed_prompts(model, processor, load_protocol(folder / "pitch.yaml"))
    cosines = embed_audio(model, processor, corpus, progress=False) @ class_embeds(embeds).T
    shares = (model.logit_scale.detach() * cosines).softmax(1).numpy()
    index_archive(manifest, folder / "index", teacher_folder, progress=False)
    shutil.rmtree(manifest.parent)
    return folder, dict(zip(corpus.manifest.column("audio"), shares, strict=True))


@pytest.fixture
def classify(world, monkeypatch, capsys):
    """Runs the command in the world; gives its exit code, output and errors."""
    monkeypatch.chdir(world[0])

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["raclap", "classify", *arguments])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


def test_an_archive_is_classified_without_its_recordings(world, classify):
    folder, shares = world
    arguments = ["--labels", "pitch.yaml", "styles.csv", "--output", "out/tags.parquet", "--figure", "out/tags.png"]
    code, said, _ = classify("index", *arguments)
    assert code == 0
    tags = parquet.read_table(folder / "out" / "tags.parquet")
    found = np.stack([tags[f"pitch:{label}"].to_numpy() for label in ("low", "normal", "high")], 1)
    expected = np.stack([shares[name] for name in tags["recording"].to_pylist()])
    np.testing.assert_allclose(found, expected, atol=5e-4)  # half precision of the store
    assert len(tags) == 18 and np.ptp(expected, axis=0).max() > 5e-3
    assert {"pitch", "pitch_margin", "volume:quiet", "volume_margin"} <= set(tags.column_names)
    assert "18 windows" in said and all(label in said for label in ("low", "normal", "high", "quiet", "loud"))
    assert "not calibrated" in said  # nor is the model
    assert (folder / "out" / "tags.png").stat().st_size > 10_000
    assert not list((folder / "out").glob(".*"))


def test_recordings_filters_and_thresholds_are_options(world, classify):
    options = ["--by-recording", "--where", "emotion = 'low'", "--threshold", "0.99", "--output", "low.parquet"]
    code, said, _ = classify("index", "--labels", "pitch.yaml", *options)
    assert code == 0 and "6 recordings" in said and "none reaches 0.99" in said
    assert len(parquet.read_table(world[0] / "low.parquet")) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("index", "--labels", "none.txt"), "none.txt: cannot be read"),
        (("index", "--labels", "pitch.yaml", "--template", "a {}"), "a protocol has its own sentences"),
        (("index", "--labels", "styles.csv", "--template", "a voice"), "'a voice' has no {}"),
        (("index", "--labels", "pitch.yaml", "--where", "sx = 'f'"), "did you mean 'sex'"),
        (("index", "--labels", "pitch.yaml", "--output", "tags.csv"), "expected a name that ends in .parquet"),
        (("index", "--labels", "pitch.yaml", "--threshold", "2"), "expected a probability, 0 to 1"),
        (("index", "--labels", "pitch.yaml", "--threshold", "much"), "expected a probability, 0 to 1"),
        (("nowhere", "--labels", "pitch.yaml"), "nowhere: is no index"),
        (("index", "--labels", "pitch.yaml", "--model", "nowhere"), "nowhere"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(classify, arguments, message):
    code, _, error = classify(*arguments)
    assert code == 2 and message in error and "Traceback" not in error
