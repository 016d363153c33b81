"""Contrast, order and tags together: two processes equal one, and a run that was stopped equals an unbroken one."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed
from safetensors.torch import load_file
from torch import Tensor
from torch.multiprocessing import spawn
from torch.nn.parallel import DistributedDataParallel
from transformers import WavLMConfig

from conftest import free_port, make_tokenizer, tiny_bert_config
from modeling_raclap import RaClapConfig, RaClapFeatureExtractor, RaClapModel, RaClapProcessor
from raclap.data.manifest import read_manifest, write_manifest
from raclap.data.notes import NOTE
from raclap.data.tags import TagGroup
from raclap.experiment import run_experiment
from raclap.model_folder import load_model_folder
from raclap.recipe import ObjectiveRecipe, read_recipe
from raclap.training.checkpoint import Checkpoints
from raclap.training.objectives import CombinedObjective, ContrastiveObjective
from raclap.training.setup import freeze_what_nothing_reads
from raclap.training.tag_sentences import TagSentences
from raclap.training.terms import ClassificationTerm, RankTerm

PAIRS, SAMPLES = 8, (900, 1000, 1300, 1500, 1700, 2100, 2600, 3400)
GROUPS = (TagGroup("pitch", ("high", "low", "normal"), (1, 1, 1)), TagGroup("how", ("loud", "quiet"), (1, 1)))
NAN = float("nan")
# The second process has one pair with labels, and of the group `how` no tag at all.
AFFECT = [[0.0, 1.0], [1.0, 1.0], [NAN, 1.0], [2.0, 0.0], [NAN, NAN], [NAN, NAN], [1.0, 2.0], [NAN, 0.0]]
TAGS = [[1, 0, 0, 1, 0], [0, 1, 0, 0, 1], [0] * 5, [0, 1, 0, 1, 1], [0, 0, 1, 0, 0], [1, 0, 0, 0, 0], [0] * 5, [0] * 5]
TAG_OPTIONS = {"groups": ["pitch", "how"], "templates": "-"}
CASES = {
    "all": {"rank": {"weight": 0.8}, "classification": TAG_OPTIONS},
    "no contrast, cosines": {
        "contrastive_weight": 0, "rank": {"logit_scale": 6.0}, "classification": {**TAG_OPTIONS, "logit": "cosine"},
    },
    "tags alone": {"contrastive_weight": 0, "classification": TAG_OPTIONS},
    "rank alone": {"contrastive_weight": 0, "rank": {}},
}  # fmt: skip


def world(case: str, frozen: bool) -> tuple[RaClapModel, CombinedObjective, dict[str, Tensor]]:
    """Model, objective and the whole batch; the same in every process."""
    recipe = ObjectiveRecipe.model_validate(CASES[case])
    torch.manual_seed(0)
    speech = WavLMConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, conv_dim=(16, 16),
        conv_stride=(5, 4), conv_kernel=(10, 4), num_feat_extract_layers=2, feat_extract_norm="layer",
        do_stable_layer_norm=True, conv_bias=True, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
        mask_time_prob=0.0,
    )  # fmt: skip
    model = RaClapModel(RaClapConfig(audio_config=speech, text_config=tiny_bert_config(), projection_dim=8))
    processor = RaClapProcessor(RaClapFeatureExtractor(), make_tokenizer())
    model.text_model.requires_grad_(not frozen)
    captions = ["a low voice", "loud", "it is a high pitched voice", "a", "the loud person", "in the", "it", "of"]
    rng = torch.Generator().manual_seed(1)
    clips = [0.2 * torch.randn(length, generator=rng).numpy() for length in SAMPLES]
    batch = dict(processor(text=captions, audio=clips, prepared=True))
    terms = []
    if recipe.rank:
        terms.append(RankTerm(recipe.rank))
        batch[NOTE + "affect"] = torch.tensor(AFFECT)
    if recipe.classification:
        model.add_tag_head(0.4)
        texts = [[f"the voice is {tag}", f"it sounds {tag}"] for group in GROUPS for tag in group.tags]
        terms.append(ClassificationTerm(recipe.classification, GROUPS, TagSentences(model, processor, texts, seed=3)))
        batch[NOTE + "tags"] = torch.tensor(TAGS).bool()
    model.double()
    batch["input_values"] = batch["input_values"].double()
    if frozen:
        tokens = {name: batch.pop(name) for name in ("input_ids", "attention_mask", "token_type_ids") if name in batch}
        batch["text_pooled"] = model.pool_text(**tokens)[1].detach()
        for term in terms[1:]:
            term._sentences._inputs["text_pooled"] = term._sentences._inputs["text_pooled"].double()
    freeze_what_nothing_reads(recipe, model)
    parts = {"speech_micro_batches": 2, "text_micro_batches": 1 if frozen else 2}
    return model.eval(), CombinedObjective(ContrastiveObjective(recipe, **parts), tuple(terms)), batch


def everything(wrap, share: slice) -> dict[str, dict[str, Tensor]]:
    """Loss, figures and gradients of every case, in the second of two steps: the first may leave nothing behind."""
    found = {}
    for name, frozen in [*((case, False) for case in CASES), ("all", True)]:
        model, objective, batch = world(name, frozen)
        wrapped = wrap(model)
        for number in range(2):
            model.zero_grad()
            loss = objective(wrapped, {key: value[share] for key, value in batch.items()}, number)
            loss.value.backward()
        gradients = {key: p.grad for key, p in model.named_parameters() if p.requires_grad}
        found[f"{name}, frozen" if frozen else name] = {"loss": loss.value.detach(), **loss.figures, **gradients}
    return found


def work(rank: int, world_size: int, port: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=world_size)
    torch.set_num_threads(1)
    share = slice(rank * PAIRS // world_size, (rank + 1) * PAIRS // world_size)
    torch.save(everything(DistributedDataParallel, share), Path(folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def of_one_process() -> dict[str, dict[str, Tensor]]:
    return everything(lambda model: model, slice(None))


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory) -> list[dict[str, dict[str, Tensor]]]:
    folder = tmp_path_factory.mktemp("processes")
    spawn(work, args=(2, free_port(), str(folder)), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("case", [*CASES, "all, frozen"])
def test_two_processes_equal_one(of_one_process, of_two_processes, case):
    expected = of_one_process[case]
    assert any(value.abs().sum() > 0 for name, value in expected.items() if "." in name)
    for found in of_two_processes:
        assert found[case].keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(
                found[case][name], value, rtol=1e-9, atol=1e-12, msg=lambda m, n=name: f"{n} {m}"
            )


@pytest.fixture(scope="module")
def tagged(tmp_path_factory, recipe_file, corpora) -> list[str]:
    """Settings of a recipe whose corpora have affect and tags, on scales of their own; the third has neither."""
    folder = tmp_path_factory.mktemp("tagged")
    words = []
    for place, (name, path) in enumerate(corpora.items()):
        manifest = read_manifest(path)
        pairs = [
            pair if place == 2 else replace(
                pair, tags=(f"how:{pair.attributes['volume']}",),
                valence=(place + 1.0) * len(pair.attributes["pitch"]),
                arousal=place + float(pair.attributes["volume"] == "loud"),
            )
            for pair in manifest
        ]  # fmt: skip
        write_manifest(folder / f"{name}.parquet", pairs, manifest.audio_root)
        words.append(f"data.corpora.{place}.manifest={folder / name}.parquet")
    (folder / "templates.yaml").write_text('templates: ["the voice is {tag}", "it sounds {tag}"]')
    return [
        *words, "objective.rank={weight: 0.5}", "training.epochs=1", "training.checkpoint_steps=1",
        f"objective.classification={{groups: [how, pitch], templates: {folder / 'templates.yaml'}}}",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory, recipe_file, tagged) -> Path:
    output = tmp_path_factory.mktemp("runs") / "unbroken"
    run_experiment(read_recipe(recipe_file, tagged), output)
    return output


def test_a_run_logs_its_terms_and_exports_its_tag_head(finished):
    epoch = json.loads((finished / "metrics.json").read_text())["epochs"][0]
    figures = epoch["figures"]
    assert set(figures) == {"contrastive", "rank", "classification"}
    total = figures["contrastive"] + 0.5 * figures["rank"] + figures["classification"]
    assert epoch["loss"] == pytest.approx(total, rel=1e-5)
    model, _ = load_model_folder(finished / "export_last")
    assert model.config.tag_head and model.tag_bias.item() != pytest.approx(-0.3365, abs=1e-4), "it is trained"


def test_a_killed_and_resumed_run_equals_an_unbroken_one(finished, tmp_path, recipe_file, tagged, monkeypatch):
    save = Checkpoints.save

    def save_and_end(self, accelerator, scheduler, progress):
        save(self, accelerator, scheduler, progress)
        if progress.step == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "save", save_and_end)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(read_recipe(recipe_file, tagged), tmp_path / "run")
    monkeypatch.undo()
    run_experiment(read_recipe(recipe_file, tagged), tmp_path / "run")
    ours, theirs = (load_file(run / "export_last" / "model.safetensors") for run in (tmp_path / "run", finished))
    assert "tag_bias" in ours and all(torch.equal(ours[name], weight) for name, weight in theirs.items())


def test_training_goes_on_without_tags_and_with_others(finished, tmp_path, recipe_file, tagged):
    """A folder's tag head is kept as it is where nothing reads it; contrast alone has no figures."""
    start = tmp_path / "start"
    shutil.copytree(finished / "export_last", start)
    words = [f"model.init_from={start}", "training.epochs=1", "training.steps_per_epoch=2"]
    run_experiment(read_recipe(recipe_file, words), tmp_path / "contrast")
    first, second = (load_file(folder / "model.safetensors") for folder in (start, tmp_path / "contrast/export_last"))
    assert torch.equal(first["tag_bias"], second["tag_bias"])
    assert not torch.equal(first["audio_projection.linear2.weight"], second["audio_projection.linear2.weight"])
    assert json.loads((tmp_path / "contrast" / "metrics.json").read_text())["epochs"][0]["figures"] == {}
    frozen = [*tagged, *words, "model.text.freeze=true", "objective.contrastive_weight=0"]
    run_experiment(read_recipe(recipe_file, frozen), tmp_path / "frozen")
    third = load_file(tmp_path / "frozen/export_last/model.safetensors")
    assert not torch.equal(first["tag_bias"], third["tag_bias"])
    text = [name for name in first if name.startswith("text_model.")]
    assert text and all(torch.equal(first[name], third[name]) for name in text)
    assert torch.equal(first["log_logit_scale"], third["log_logit_scale"]) is False, "the order reads it"


def test_a_moving_teacher_goes_along(teacher_folder, tmp_path, recipe_file, tagged):
    """The teacher sees the batch without the notes of other terms, and follows a student with a tag head."""
    words = [
        *tagged, "objective.relation=teacher", f"teacher={{folders: [{teacher_folder}], ema_decay: 0.9}}",
        "training.steps_per_epoch=2",
    ]  # fmt: skip
    run_experiment(read_recipe(recipe_file, words), tmp_path)
    figures = json.loads((tmp_path / "metrics.json").read_text())["epochs"][0]["figures"]
    assert set(figures) == {"contrastive", "target_entropy", "rank", "classification"}
    moving = load_file(next((tmp_path / "checkpoints").glob("*0000")) / "teacher.safetensors")
    student = load_file(tmp_path / "export_last" / "model.safetensors")
    name = "audio_projection.linear1.weight"
    assert "module.tag_bias" in moving and moving[f"module.{name}"].shape == student[name].shape
