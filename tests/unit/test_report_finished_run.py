"""Reading a run folder: what is wrong with it is said in one sentence."""

import json

import pytest

from raclap.errors import RaClapError
from raclap.report.finished_run import ReportError, read_run

RECIPE = """
name: tiny
model: {speech: {config: {model_type: raclap_ecapa_tdnn}}, text: {pretrained: /nowhere/bert}}
data: {corpora: [{name: a, manifest: /nowhere/manifest.parquet}]}
"""


def epoch(number, best=True):
    return {
        "epoch": number, "loss": 1.0, "figures": {}, "steps": 2, "pairs_per_second": 9.0, "logit_scale": 14.0,
        "layer_weights": {}, "score": 50.0, "best": best, "validation": {"a": {}},
    }  # fmt: skip


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    for name in ("export", "export_last"):
        (folder / name).mkdir(parents=True)
    (folder / "recipe.yaml").write_text(RECIPE)
    write(folder, [epoch(0), epoch(1), epoch(2, best=False)])
    return folder


def write(folder, epochs):
    (folder / "metrics.json").write_text(json.dumps({"epochs": epochs}))


def test_the_best_epoch_and_the_last(run):
    best, last = read_run(run), read_run(run, last=True)
    assert (best.epoch, best.best, best.export.name) == (2, 2, "export")
    assert (last.epoch, last.best, last.export.name) == (3, 2, "export_last")
    assert best.reported["epoch"] == 1
    assert best.versions == best.corpora == {}


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ReportError, match="no such folder"):
        read_run(tmp_path / "gone")


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(ReportError, match=r"holds no recipe\.yaml"):
        read_run(tmp_path)


@pytest.mark.parametrize("epochs", [[], None], ids=["none done", "no file"])
def test_no_epoch_is_finished(run, epochs):
    write(run, epochs) if epochs is not None else (run / "metrics.json").unlink()
    with pytest.raises(ReportError, match="no epoch is finished"):
        read_run(run)


def test_no_export(run):
    (run / "export").rmdir()
    with pytest.raises(ReportError, match=r"export: no exported model"):
        read_run(run)


@pytest.mark.parametrize("text", ["{", "[3]", '{"epochs": 3}', '{"epochs": [3]}', '{"epoch": []}'])
def test_figures_that_cannot_be_read(run, text):
    (run / "metrics.json").write_text(text)
    with pytest.raises(RaClapError, match=r"metrics\.json"):
        read_run(run)


def test_an_epoch_without_its_loss(run):
    write(run, [{key: value for key, value in epoch(0).items() if key != "loss"}])
    with pytest.raises(ReportError, match="no 'loss'"):
        read_run(run)


def test_damaged_versions(run):
    (run / "versions.json").write_text("{")
    with pytest.raises(ReportError, match=r"versions\.json: not valid JSON"):
        read_run(run)


@pytest.mark.parametrize("text", ["{", "[3]", '{"a": {"pairs": 3}}'])
def test_damaged_facts_of_corpora(run, text):
    (run / "corpora.json").write_text(text)
    with pytest.raises(RaClapError, match=r"corpora\.json: not"):
        read_run(run)
