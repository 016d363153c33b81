"""A run stores with what it exports what its cosines mean; what it cannot calibrate it exports all the same."""

from pathlib import Path

import pytest

from raclap.commands import calibrate_folder
from raclap.experiment import run_experiment
from raclap.model_folder import load_model_folder
from raclap.recipe import read_recipe


def test_a_run_exports_the_calibration_that_the_command_finds(tmp_path, recipe_file, corpora, capsys):
    settings = ["training.steps_per_epoch=12", "optimizer.learning_rate=0.01"]
    run_experiment(read_recipe(recipe_file, settings), tmp_path / "run")
    said = capsys.readouterr().out
    for folder in (tmp_path / "run" / "export_last", tmp_path / "run" / "export"):
        model, _ = load_model_folder(folder)
        stored = model.calibration
        assert stored is not None and "without a calibration" not in said.rpartition("epoch 1")[2]
        assert stored.facts["clips"] == {"small": 12, "medium": 12, "large": 12}
        card = (folder / "README.md").read_text()
        assert "model.match_probability(clips, texts)" in card
        assert "36 validation clips (small, medium, large)" in card and f"{stored.facts['brier']:.3f} (0 is" in card
        calibrate_folder(folder, [f"{name}={path}" for name, path in corpora.items()])
        found = load_model_folder(folder)[0].calibration
        assert (found.slope, found.intercept) == pytest.approx((stored.slope, stored.intercept), rel=1e-3)
        assert found.quantiles == pytest.approx(stored.quantiles, abs=1e-4)


def test_a_run_of_few_validation_clips_says_once_that_it_is_not_calibrated(tmp_path, recipe_file, corpora, capsys):
    text = Path(recipe_file).read_text()
    lines = [line for line in text.splitlines() if "name: medium" not in line and "name: large" not in line]
    (tmp_path / "one.yaml").write_text("\n".join([*lines, ""]))
    run_experiment(read_recipe(tmp_path / "one.yaml"), tmp_path / "run")
    said = capsys.readouterr().out
    assert said.count("exported without a calibration: 12 pairs; a calibration needs at least 20") == 1
    assert said.count("\nepoch ") + said.startswith("epoch ") == 2
    assert load_model_folder(tmp_path / "run" / "export_last")[0].calibration is None
    assert "match_probability" not in (tmp_path / "run" / "export_last" / "README.md").read_text()
