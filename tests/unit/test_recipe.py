"""Recipes: every shipped one loads, and a mistake is named by file and key."""

from pathlib import Path

import pytest

from raclap.errors import RecipeError
from raclap.recipe import describe_keys, differences, dump_recipe, read_recipe

CONFIGURATION = Path(__file__).parents[2] / "configuration"
MINIMAL = """
name: x
model: {speech: {pretrained: a}, text: {pretrained: b}}
data: {corpora: [{name: one, manifest: 1.parquet}, {name: two, manifest: 2.parquet}]}
"""


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    path = tmp_path / "x.yaml"
    path.write_text(MINIMAL)
    return path


@pytest.mark.parametrize(
    "path", [p for p in sorted(CONFIGURATION.rglob("*.yaml")) if "model:" in p.read_text()], ids=lambda p: p.stem
)
def test_every_shipped_recipe_loads(path):
    assert read_recipe(path).name


def test_defaults_are_those_of_the_paper(minimal):
    recipe = read_recipe(minimal)
    assert recipe.optimizer.name == "adam" and recipe.optimizer.betas == (0.9, 0.99)
    assert recipe.optimizer.learning_rate == 2e-5
    assert (recipe.training.batch_size, recipe.training.epochs) == (192, 15)
    assert recipe.model.projection_dim == 512 and recipe.model.logit_scale_init == pytest.approx(1 / 0.07)
    assert recipe.shares == (1, 1)


def test_resolved_recipe_reads_back_as_itself(minimal, tmp_path):
    recipe = read_recipe(minimal, ["seed=7", "data.mixture={one: 1, two: 2}"])
    again = tmp_path / "again.yaml"
    again.write_text(dump_recipe(recipe))
    assert read_recipe(again) == recipe
    assert recipe.shares == (1, 2)
    assert differences(recipe, read_recipe(minimal)) == [
        "data.mixture", "data.mixture.one", "data.mixture.two", "seed",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["training.batchsize=4"], r"x\.yaml: key 'training\.batchsize': unknown key; did you mean 'batch_size'"),
        (["data.corpora.0.manifes=a"], r"key 'data\.corpora\.0\.manifes': unknown key; did you mean 'manifest'"),
        (["modle=1"], r"key 'modle': unknown key; did you mean 'model'"),
        (["training.batch_size=ten"], r"key 'training\.batch_size'"),
        (["training.batch_size=5"], r"batch_size 5 cannot be split 1:1; 4 can"),
        (["data.mixture={one: 1}"], r"data\.mixture names \['one'\]"),
        (["data.corpora.1.name=one"], r"a name stands twice"),
        (["model.speech={config: {a: 1}}"], r"give 'pretrained', or a 'config' with its model_type"),
        (["evaluation.select=zero_shot_UAR"], r"needs a file of prompts"),
        (["name=a/b"], r"key 'name'"),
        (["training"], r"--set training: write it as"),
        (["data.corpora.9.name=a"], r"there is no place 'data\.corpora\.9\.name'"),
    ],
)
def test_mistakes_are_named(minimal, settings, message):
    with pytest.raises(RecipeError, match=message):
        read_recipe(minimal, settings)


def test_missing_key_file_and_variable_are_named(minimal, tmp_path):
    with pytest.raises(RecipeError, match=r"gone\.yaml: cannot be read"):
        read_recipe(tmp_path / "gone.yaml")
    minimal.write_text("name: x\nmodel: [")
    with pytest.raises(RecipeError, match="not valid YAML"):
        read_recipe(minimal)
    minimal.write_text("name: x")
    with pytest.raises(RecipeError, match="key 'data': missing"):
        read_recipe(minimal)
    minimal.write_text(MINIMAL.replace("1.parquet", '"${NOT_SET_ANYWHERE}/1.parquet"'))
    with pytest.raises(RecipeError, match="NOT_SET_ANYWHERE"):
        read_recipe(minimal)


def test_variables_are_replaced(minimal, monkeypatch):
    minimal.write_text(MINIMAL.replace("1.parquet", '"${RACLAP_CACHE}/1.parquet"'))
    monkeypatch.setenv("RACLAP_CACHE", "/data")
    assert read_recipe(minimal).data.corpora[0].manifest == "/data/1.parquet"
    monkeypatch.delenv("RACLAP_CACHE")
    assert read_recipe(minimal).data.corpora[0].manifest.endswith("raclap/corpora/1.parquet")


def test_help_names_every_key():
    text = describe_keys()
    for key in ("training.batch_size", "model.speech.pretrained", "data.corpora.manifest", "optimizer.betas"):
        assert key in text
