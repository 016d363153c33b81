"""A card takes figures of its own weights alone."""

import hashlib
import json
from pathlib import Path

import pytest

from raclap.hub.figures import Figures, ResultsError, gather_figures, read_figures
from raclap.provenance import weights_digests

DIRECTIONS = ("audio_to_text", "text_to_audio")


def cells(value: float) -> dict:
    return {direction: {"R@1": {"value": value, "low": value - 1, "high": value + 1}} for direction in DIRECTIONS}


@pytest.fixture
def model(tmp_path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for number in (1, 2):
        (folder / f"model-0000{number}-of-00002.safetensors").write_bytes(b"weights" * number)
    return folder


def results_file(
    path: Path, models: dict[str, tuple[dict, float]], split: str = "test", corpus: str = "tones"
) -> Path:
    """Results of models, each with the digests of its weights and its own value."""
    values = {
        "models": {name: {"weights": weights} for name, (weights, _) in models.items()},
        "protocol": {"split": split, "seed": 0, "resamples": 500, "clips": {corpus: 12}},
        "results": {name: {corpus: cells(value)} for name, (_, value) in models.items()},
        "comparisons": [],
    }
    path.write_text(json.dumps(values))
    return path


def value_of(figures: Figures, corpus: str = "tones") -> float:
    return figures.results[corpus]["audio_to_text"]["R@1"]["value"]


def test_digests_are_those_of_the_files(model):
    found = weights_digests(model)
    assert list(found) == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert found["model-00002-of-00002.safetensors"] == hashlib.sha256(b"weightsweights").hexdigest()


def test_of_several_models_the_one_with_these_weights_is_taken_whatever_its_name(model, tmp_path):
    others = {"model.safetensors": "0" * 64}
    path = results_file(tmp_path / "r.json", {"a": (others, 11.0), "b": (weights_digests(model), 22.0)})
    found = read_figures(path, model)
    assert (
        value_of(found) == 22.0 and found.split == "test" and found.resamples == 500 and found.clips == {"tones": 12}
    )
    first, second = weights_digests(model).items()
    half = results_file(tmp_path / "h.json", {"a": (dict([first]), 1.0), "b": ({**others, **dict([second])}, 2.0)})
    with pytest.raises(ResultsError, match=r"h.json: holds figures of a, b; none has the weights of .*model$"):
        read_figures(half, model)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read"),
        ("{", "not JSON"),
        ("[]", "not what evaluate_retrieval.py writes"),
        ('{"results": {}, "comparisons": []}', "does not say which weights its figures are of; evaluate"),
        ('{"models": {"a": {}}, "protocol": {}}', "not what evaluate_retrieval.py writes"),
    ],
)
def test_other_files_are_refused(model, tmp_path, text, words):
    path = tmp_path / "r.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ResultsError, match=rf"r.json: {words}"):
        read_figures(path, model)


def test_named_files_must_fit_and_found_ones_may(model, tmp_path):
    ours, other = weights_digests(model), {"model.safetensors": "0" * 64}
    known = [Figures("validation", {"tones": cells(1.0)})]
    named = results_file(tmp_path / "named.json", {"a": (ours, 2.0)})
    again = results_file(tmp_path / "again.json", {"a": (ours, 3.0)})
    wrong = results_file(tmp_path / "wrong.json", {"a": (other, 4.0)})
    valid = results_file(tmp_path / "valid.json", {"a": (ours, 5.0)}, split="validation")
    bells = results_file(tmp_path / "bells.json", {"a": (ours, 6.0)}, corpus="bells")
    found = gather_figures(model, [named], [again, wrong, valid, bells, bells], known)
    assert [(own.split, list(own.results)) for own in found] == [("test", ["tones"]), ("test", ["bells"])]
    assert value_of(found[0]) == 2.0
    with pytest.raises(ResultsError, match=r"again.json: figures of 'tones', test, are there already, from .*named"):
        gather_figures(model, [named, again], [], known)
    with pytest.raises(ResultsError, match=r"valid.json: .* from the run's own figures"):
        gather_figures(model, [valid], [], known)
    with pytest.raises(ResultsError, match=r"wrong.json"):
        gather_figures(model, [wrong], [], known)


def test_order_stands_with_its_direction_and_columns_are_common_to_all(model, tmp_path):
    path = results_file(tmp_path / "r.json", {"a": (weights_digests(model), 2.0)})
    values = json.loads(path.read_text())
    values["results"]["a"]["tones"]["ordinality"] = {d: {"tau_valence": {"value": 0.5}} for d in DIRECTIONS}
    path.write_text(json.dumps(values))
    assert read_figures(path, model).metrics == ("R@1", "tau_valence")
    values["results"]["a"]["bells"] = cells(3.0)
    path.write_text(json.dumps(values))
    assert read_figures(path, model).metrics == ("R@1",)
