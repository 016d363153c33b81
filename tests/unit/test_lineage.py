"""A model carries what the models before it learned from, and so their licences."""

import json

import pytest

from raclap.data.facts import NOT_STATED, CorpusFacts
from raclap.errors import ModelFolderError
from raclap.hub.lineage import TRAINING_DATA, SeenCorpus, TrainingData, read_training_data
from raclap.recipe import read_recipe

FACTS = {"tones": CorpusFacts(12, 0.5, 3, ("en",), ("CC BY 4.0",))}


@pytest.fixture
def run(recipe_file):
    """Training data of a run on `tones`, with these settings."""
    return lambda *settings: TrainingData.of_run(read_recipe(recipe_file, settings), FACTS)


def teacher_of(folder, **corpora: tuple[str, ...]) -> str:
    folder.mkdir(parents=True)
    seen = {name: SeenCorpus(7, None, ("de",), licences, "training") for name, licences in corpora.items()}
    TrainingData(seen).write(folder)
    return str(folder)


def taught_by(*folders: object) -> tuple[str, ...]:
    return ("objective.relation=teacher", f"teacher.folders=[{', '.join(map(str, folders))}]")


def test_a_run_by_itself_has_its_own_corpora(run, tmp_path):
    data = run()
    assert data.corpora == {"tones": SeenCorpus(12, 0.5, ("en",), ("CC BY 4.0",), "training")}
    data.write(tmp_path)
    assert read_training_data(tmp_path) == data
    assert json.loads((tmp_path / TRAINING_DATA).read_text()) == {
        "corpora": {
            "tones": {"pairs": 12, "hours": 0.5, "languages": ["en"], "licences": ["CC BY 4.0"], "role": "training"}
        }
    }


def test_start_and_teachers_bring_theirs(run, tmp_path):
    start = teacher_of(tmp_path / "s", bells=("CC0-1.0",))
    teachers = [teacher_of(tmp_path / name, **{name: ("CC BY-NC-SA 4.0",)}) for name in ("ravdess", "mead")]
    data = run(f"model.init_from={start}", *taught_by(*teachers))
    assert {name: seen.role for name, seen in data.corpora.items()} == {
        "tones": "training", "bells": "start", "ravdess": "teacher", "mead": "teacher",
    }  # fmt: skip
    assert data.licences["mead"] == ("CC BY-NC-SA 4.0",)
    # And so on, from one generation to the next.
    grandchild = tmp_path / "grandchild"
    grandchild.mkdir()
    data.write(grandchild)
    assert set(run(*taught_by(grandchild)).corpora) == {"tones", "bells", "ravdess", "mead"}


def test_a_corpus_that_was_met_twice_has_the_licences_of_both(run, tmp_path):
    data = run(*taught_by(teacher_of(tmp_path / "t", tones=("CC BY-NC 4.0",))))
    assert data.corpora == {"tones": SeenCorpus(12, 0.5, ("en",), ("CC BY 4.0", "CC BY-NC 4.0"), "training")}
    unstated = run(*taught_by(teacher_of(tmp_path / "u", tones=())))
    assert unstated.licences == {"tones": ("CC BY 4.0", NOT_STATED)}


def test_a_model_that_does_not_say_is_named(run, tmp_path):
    data = run(*taught_by(tmp_path / "runs" / "old" / "export", tmp_path / "converted"))
    nothing = SeenCorpus(None, None, (), (), "teacher")
    assert data.corpora == {**run().corpora, "old": nothing, "converted": nothing}


@pytest.mark.parametrize("text", ["no json", "[]", "{}", '{"corpora": {"a": {"pairs": 3}}}', '{"corpora": [1]}'])
def test_a_damaged_file_is_refused(tmp_path, text):
    (tmp_path / TRAINING_DATA).write_text(text)
    with pytest.raises(ModelFolderError, match=r"training_data.json: not what an export writes"):
        read_training_data(tmp_path)
