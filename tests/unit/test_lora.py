"""LoRA: corrections alone are trained, resume exactly, and are exported as weights that need no PEFT."""

import copy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file

from conftest import RATE, tone
from encoder_families import SPEECH, TEXT, save_text
from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.errors import RecipeError
from raclap.experiment import run_experiment
from raclap.hub.export import export
from raclap.lora import merged_weights
from raclap.model_folder import load_model_folder
from raclap.recipe import ModelRecipe, TeacherRecipe, TrainingRecipe, read_recipe
from raclap.training.checkpoint import Checkpoints, Progress
from raclap.training.loop import set_train
from raclap.training.teacher import MovingTeacher
from raclap.training.towers import build_model

WAVEFORM = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "conv_dim": [32, 32], "conv_stride": [16, 10], "conv_kernel": [16, 10], "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
TOWERS = {
    **{name: SPEECH[name] for name in ("whisper", "wav2vec2-bert", "wav2vec2-bert, relative", "ast")},
    **{name: {"model_type": name, **WAVEFORM} for name in ("wavlm", "hubert", "wav2vec2")},
    "wavlm, eager": {"model_type": "wavlm", **WAVEFORM, "attn_implementation": "eager"},
}
QKVO = ("q_proj", "k_proj", "v_proj", "out_proj")
LINEAR = ("linear_q", "linear_k", "linear_v", "linear_out")
ADAPTED = {
    "whisper": QKVO,
    "wav2vec2-bert": LINEAR,
    "wav2vec2-bert, relative": (*LINEAR, "linear_pos"),
    "ast": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "wavlm": QKVO,
    "wavlm, eager": QKVO,
    "hubert": QKVO,
    "wav2vec2": QKVO,
    "bert": ("query", "key", "value", "attention.output.dense"),
    "roberta": ("query", "key", "value", "attention.output.dense"),
    "xlm-roberta": ("query", "key", "value", "attention.output.dense"),
    "mpnet": ("attn.q", "attn.k", "attn.v", "attn.o"),
    "deberta-v2": ("query_proj", "key_proj", "value_proj", "attention.output.dense"),
    "modernbert": ("Wqkv", "attn.Wo"),
    "distilbert": ("q_lin", "k_lin", "v_lin", "out_lin"),
    "electra": ("query", "key", "value", "attention.output.dense"),
}
CAPTIONS = ["a low voice", "the person speaks in a high tone", "loud", "a quiet voice"]
LORA = {"rank": 4, "alpha": 8}


def clips() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [tone(rng.uniform(100, 400), 0.3, size / RATE, rng) for size in (16_000, 7_003, 12_001, 3_000)]


def build(speech: dict, text: Path, text_section: dict | None = None, **model) -> tuple[RaClapModel, RaClapProcessor]:
    torch.manual_seed(0)
    sections = {"speech": speech, "text": {"pretrained": str(text), **(text_section or {})}, "projection_dim": 32}
    return build_model(ModelRecipe.model_validate({**sections, **model}))


def batch(processor: RaClapProcessor) -> dict[str, torch.Tensor]:
    return dict(processor(text=CAPTIONS, audio=clips(), sampling_rate=RATE))


def train(model: RaClapModel, inputs: dict[str, torch.Tensor], steps: int = 2) -> None:
    """A few large steps, so that corrections are no longer zero; ends in eval mode."""
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.02)
    set_train(model)
    for step in range(steps):
        torch.manual_seed(step)
        model(**inputs, return_loss=True).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


@torch.no_grad()
def logits(model: RaClapModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    return model(**inputs).logits_per_audio


def adapted(tower: torch.nn.Module) -> set[str]:
    return {name for name, module in tower.named_modules() if isinstance(module, LoraLayer)}


@pytest.mark.parametrize("name", TOWERS)
def test_a_speech_tower_learns_by_corrections_of_its_attention_alone(name, text_folder, tmp_path):
    plain, _ = build({"config": TOWERS[name]}, text_folder)
    model, processor = build({"config": TOWERS[name], "lora": LORA}, text_folder, {"freeze": True})
    inputs = batch(processor)
    torch.testing.assert_close(logits(model, inputs), logits(plain, inputs), msg="training starts where the tower is")
    found = adapted(model.audio_model)
    assert len(found) == 2 * len(ADAPTED[name]) and all(n.endswith(ADAPTED[name]) for n in found)
    before = copy.deepcopy(model.state_dict())
    train(model, inputs)
    moved = {n for n, weight in model.state_dict().items() if not torch.equal(weight, before[n])}
    trained = {n for n, parameter in model.named_parameters() if parameter.requires_grad}
    assert moved == trained, "all that is trained moves (the attention reads its corrections), and nothing else does"
    towers = ("audio_model.", "text_model.")
    assert all(".lora_" in n for n in trained if n.startswith(towers))
    assert {n.split(".")[0] for n in trained} >= {"audio_model", "audio_projection", "text_projection"}
    check_export(model, processor, inputs, tmp_path)


@pytest.mark.parametrize("name", [name for name in TEXT if name in ADAPTED])
def test_a_text_tower_learns_likewise(name, tmp_path):
    speech = {"config": {"model_type": "raclap_ecapa_tdnn", "channels": 16, "mfa_channels": 24, "hidden_size": 8}}
    folder = save_text(tmp_path / "text", TEXT[name])
    model, processor = build({**speech, "freeze": True}, folder, {"lora": LORA})
    found = adapted(model.text_model)
    assert len(found) == 2 * len(ADAPTED[name]) and all(n.endswith(ADAPTED[name]) for n in found)
    inputs = batch(processor)
    train(model, inputs)
    check_export(model, processor, inputs, tmp_path)


def check_export(model: RaClapModel, processor: RaClapProcessor, inputs: dict, folder: Path) -> None:
    """The folder holds the sum, and writing it leaves the model as it was, training or not."""
    before, expected = copy.deepcopy(model.state_dict()), logits(model, inputs)
    model.train()
    export(model, processor, folder / "export", card="")
    assert model.training and not any(m.merged for m in model.modules() if isinstance(m, LoraLayer))
    after = model.state_dict()
    assert list(after) == list(before) and all(torch.equal(after[n], weight) for n, weight in before.items())
    assert not [n for n in load_file(folder / "export" / "model.safetensors") if "lora" in n or "base_layer" in n]
    loaded, _ = load_model_folder(folder / "export")
    assert (logits(loaded, inputs) - expected).abs().max() < 1e-5 * loaded.logit_scale
    assert sorted(loaded.state_dict()) == sorted(merged_weights(model))


def test_what_was_exported_needs_no_peft(text_folder, tmp_path, monkeypatch):
    model, processor = build({"config": TOWERS["wavlm"], "lora": LORA}, text_folder, {"lora": LORA})
    train(model, batch(processor))
    export(model, processor, tmp_path / "export", card="")
    for name in [name for name in sys.modules if name.split(".")[0] == "peft"]:
        monkeypatch.setitem(sys.modules, name, None)
    loaded, its_processor = load_model_folder(tmp_path / "export")
    export(loaded, its_processor, tmp_path / "again", card="")
    weights = [load_file(tmp_path / folder / "model.safetensors") for folder in ("export", "again")]
    assert all(torch.equal(weights[1][name], weight) for name, weight in weights[0].items())


def test_nothing_is_merged_where_nothing_is_adapted(text_folder):
    assert merged_weights(build({"config": TOWERS["hubert"]}, text_folder)[0]) is None


def test_named_layers_alone_are_adapted(text_folder):
    lora = {**LORA, "targets": ["q_proj", "feed_forward.intermediate_dense"]}
    model, _ = build({"config": TOWERS["hubert"], "lora": lora}, text_folder)
    assert {name.split(".", 3)[3] for name in adapted(model.audio_model)} == {
        "attention.q_proj", "feed_forward.intermediate_dense",
    }  # fmt: skip


def test_first_layers_that_are_kept_get_no_corrections(text_folder):
    model, _ = build({"config": TOWERS["wavlm"], "lora": LORA, "freeze_layers": 1}, text_folder)
    assert {name.split(".")[2] for name in adapted(model.audio_model)} == {"1"}
    trained = [n for n, p in model.audio_model.named_parameters() if p.requires_grad]
    assert trained and all(n.startswith("encoder.layers.1.") and ".lora_" in n for n in trained)


@pytest.mark.parametrize(
    ("speech", "message"),
    [
        ({"freeze_layers": 2, "lora": LORA}, r"model\.speech\.lora: freeze_layers keeps every layer"),
        (
            {"freeze_layers": 1, "lora": {"targets": ["feature_projection.projection"]}},
            r"model\.speech\.lora: freeze_layers keeps every layer",
        ),
        (
            {"lora": {"targets": ["qproj"]}},
            r"model\.speech\.lora\.targets: .* no linear layer 'qproj'; it has .*q_proj",
        ),
        (
            {"config": {"model_type": "raclap_resnet34"}, "lora": LORA},
            r"model\.speech\.lora: ResNet34Model has no attention to adapt",
        ),
    ],
)
def test_contradictions_are_named(speech, message, text_folder):
    with pytest.raises(RecipeError, match=message):
        build({"config": TOWERS["hubert"], **speech}, text_folder)


def test_a_missing_peft_is_named(text_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(RecipeError, match=r"model\.text\.lora: needs PEFT: pip install 'raclap\[lora\]'"):
        build({"config": TOWERS["hubert"]}, text_folder, {"lora": LORA})


def test_a_checkpoint_brings_everything_back(text_folder, tmp_path):
    """Another model of the same recipe takes the state and goes on exactly as the first one does."""
    section = {"config": TOWERS["wavlm"], "lora": {**LORA, "dropout": 0.1}}
    ends = []
    for resumed in (False, True):
        model, processor = build(section, text_folder)
        if resumed:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(1.0)
        inputs = batch(processor)
        accelerator = Accelerator(cpu=True)
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
        scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer)
        model, optimizer = accelerator.prepare(model, optimizer)
        checkpoints = Checkpoints(tmp_path / "checkpoints")
        if resumed:
            assert checkpoints.resume(accelerator, scheduler) == Progress(0, 2)
        for step in range(2 if resumed else 0, 4):
            if step == 2 and not resumed:
                checkpoints.save(accelerator, scheduler, Progress(0, step))
            torch.manual_seed(step)
            set_train(model)
            model(**inputs, return_loss=True).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        ends.append(model.state_dict())
    assert all(torch.equal(ends[1][name], weight) for name, weight in ends[0].items())


def test_going_on_from_a_folder_starts_corrections_afresh_on_its_weights(text_folder, tmp_path):
    model, processor = build({"config": TOWERS["whisper"], "lora": LORA}, text_folder)
    train(model, batch(processor))
    export(model, processor, tmp_path / "export", card="")
    again, _ = build_model(
        ModelRecipe.model_validate({"init_from": str(tmp_path / "export"), "speech": {"lora": LORA}})
    )
    assert adapted(again.audio_model) == adapted(model.audio_model)
    loaded, _ = load_model_folder(tmp_path / "export")
    inputs = batch(processor)
    torch.testing.assert_close(logits(again.eval(), inputs), logits(loaded, inputs))
    fresh = again.state_dict()
    assert all(not weight.any() for name, weight in fresh.items() if "lora_B" in name)


def test_a_moving_teacher_follows_corrections(text_folder):
    model, processor = build({"config": TOWERS["wavlm"], "lora": LORA}, text_folder, {"freeze": True})
    teacher = MovingTeacher(model, TeacherRecipe(ema_decay=0.5, temperature=0.1), TrainingRecipe())
    name = next(n for n in model.state_dict() if "lora_B" in n)
    train(model, batch(processor))
    teacher.follow(model)
    stored = teacher.state_dict()
    torch.testing.assert_close(stored[f"module.{name}"], 0.5 * model.state_dict()[name])
    other = MovingTeacher(model, TeacherRecipe(ema_decay=0.5, temperature=0.1), TrainingRecipe())
    other.load_state_dict(stored)
    inputs, rows = batch(processor), torch.arange(4)
    torch.testing.assert_close(other(inputs, {}).logits(rows, rows), teacher(inputs, {}).logits(rows, rows))


def test_a_whole_run_with_corrections_in_both_towers(recipe_file, tmp_path):
    """Exports each epoch while training goes on; its second epoch, run again from the checkpoint, ends the same."""
    speech = {"model_type": "wavlm", **WAVEFORM}
    settings = [
        f"model.speech={{config: {speech}, lora: {{rank: 2}}}}".replace("'", ""),
        "model.text.lora={rank: 2, dropout: 0.1}", "training.trackers=[]", "training.steps_per_epoch=2",
    ]  # fmt: skip
    recipe = read_recipe(recipe_file, settings)
    run_experiment(recipe, tmp_path)
    weights = load_file(tmp_path / "export_last" / "model.safetensors")
    assert not [name for name in weights if "lora" in name]
    (tmp_path / "checkpoints" / "epoch-0002-step-000000" / "progress.json").unlink()  # as if killed just before
    shutil.rmtree(tmp_path / "export_last")
    run_experiment(recipe, tmp_path)
    again = load_file(tmp_path / "export_last" / "model.safetensors")
    assert all(torch.equal(again[name], weight) for name, weight in weights.items())
