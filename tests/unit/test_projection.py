"""Projections against their formulas, and the mean of the last layer against a loop over real frames."""

import copy
import json
import math

import pytest
import torch
from transformers import Wav2Vec2Config, WavLMConfig

from conftest import RATE, tiny_bert_config
from modeling_raclap import EcapaTdnnConfig, RaClapConfig, RaClapModel
from modeling_raclap.projection_raclap import build_projection
from raclap.errors import RecipeError
from raclap.hub.export import export
from raclap.recipe import ModelRecipe
from raclap.training.towers import build_model

LAYOUTS = [(WavLMConfig, "group"), (WavLMConfig, "layer"), (Wav2Vec2Config, "group"), (Wav2Vec2Config, "layer")]
ECAPA = {
    "model_type": "raclap_ecapa_tdnn", "channels": 16, "mfa_channels": 24, "hidden_size": 8, "se_channels": 8,
    "attention_channels": 8,
}  # fmt: skip


def speech_config(kind=WavLMConfig, norm="layer"):
    return kind(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, conv_dim=(16, 16, 16),
        conv_stride=(5, 4, 2), conv_kernel=(10, 4, 2), num_feat_extract_layers=3, feat_extract_norm=norm,
        do_stable_layer_norm=norm == "layer", num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
        mask_time_prob=0.0,
    )  # fmt: skip


def build(speech=None, **fields) -> RaClapModel:
    torch.manual_seed(0)
    speech = copy.deepcopy(speech or speech_config())
    config = RaClapConfig(audio_config=speech, text_config=tiny_bert_config(), projection_dim=24, **fields)
    return RaClapModel(config).eval()


def residual(**fields) -> RaClapModel:
    return build(projection="residual_mlp", audio_pooling="last_mean", text_pooling="cls", **fields)


def batch() -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    """Three clips, under whose mask lies noise."""
    torch.manual_seed(1)
    lengths = [16_000, 7_003, 11_001]
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return torch.randn(3, max(lengths)), mask.long(), lengths


def test_residual_projection_is_its_formula():
    torch.manual_seed(0)
    projection = build_projection("residual_mlp", 6, 4, dropout=0.5).double().eval()
    projection.layer_norm.weight.data.uniform_(0.5, 2)
    projection.layer_norm.bias.data.normal_()
    assert projection.linear1.bias is None and projection.linear2.bias is None
    x = torch.randn(5, 6, dtype=torch.float64)
    e = x @ projection.linear1.weight.T
    gelu = e * 0.5 * (1 + torch.erf(e / math.sqrt(2)))
    added = e + gelu @ projection.linear2.weight.T
    centred = added - added.mean(1, keepdim=True)
    normed = centred / torch.sqrt(centred.square().mean(1, keepdim=True) + 1e-5)
    expected = normed * projection.layer_norm.weight + projection.layer_norm.bias
    torch.testing.assert_close(projection(x), expected, rtol=1e-12, atol=1e-12)


def test_dropout_is_of_the_second_layer_alone():
    """So that what is dropped leaves e itself, and nothing is dropped outside training."""
    torch.manual_seed(0)
    projection = build_projection("residual_mlp", 6, 200, dropout=0.3).double()
    x = torch.randn(1, 6, dtype=torch.float64)
    projection.layer_norm = torch.nn.Identity()
    e = projection.linear1(x)
    added = projection(x) - e
    kept = added.abs() > 0
    assert 0.6 < kept.double().mean() < 0.8
    whole = projection.eval()(x) - e
    torch.testing.assert_close(added[kept], whole[kept] / 0.7)


def test_relu_projection_is_its_formula():
    projection = build_projection("relu_mlp", 6, 4, dropout=0.0)
    first, second, x = projection.linear1, projection.linear2, torch.randn(5, 6)
    expected = (x @ first.weight.T + first.bias).clamp(min=0) @ second.weight.T + second.bias
    torch.testing.assert_close(projection(x), expected)


def test_residual_projections_start_as_their_layers_do(tmp_path):
    """Weights that a folder lacks are drawn or set, and none is left as memory had it."""
    model = residual(projection_dropout=0.5)
    left_out = {name for name in model.state_dict() if "_projection." in name or name == "log_logit_scale"}
    assert {"audio_projection.layer_norm.weight", "text_projection.linear2.weight"} < left_out
    model.save_pretrained(tmp_path, state_dict={n: v for n, v in model.state_dict().items() if n not in left_out})
    loaded = RaClapModel.from_pretrained(tmp_path)
    for tower in (loaded.audio_projection, loaded.text_projection):
        assert torch.equal(tower.layer_norm.weight, torch.ones(24)) and not tower.layer_norm.bias.any()
        for layer in (tower.linear1, tower.linear2):
            bound = math.sqrt(6 / sum(layer.weight.shape))  # Glorot and Bengio's uniform distribution
            assert 0.8 * bound < layer.weight.abs().max() <= bound
    assert loaded.logit_scale.item() == pytest.approx(1 / 0.07, rel=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("kind", "norm"), LAYOUTS)
def test_last_mean_is_over_real_frames_of_the_output(kind, norm):
    model = build(speech_config(kind, norm), audio_pooling="last_mean")
    clips, mask, lengths = batch()
    found = model.get_audio_features(clips, audio_attention_mask=mask).pooler_output
    alone = [clip[None, :length] for clip, length in zip(clips, lengths, strict=True)]
    means = torch.cat([model.audio_model(clip).last_hidden_state.mean(1) for clip in alone])
    expected = torch.nn.functional.normalize(model.audio_projection(means), dim=-1)
    assert (found - expected).abs().max() < 1e-5
    found = torch.cat([model.get_audio_features(clip).pooler_output for clip in alone])
    assert (found - expected).abs().max() < 1e-5


@torch.no_grad()
def test_a_mean_over_padding_too_would_differ():
    """The oracle above can fail."""
    model = build(audio_pooling="last_mean")
    clips, mask, _ = batch()
    found = model.get_audio_features(clips, audio_attention_mask=mask).pooler_output
    frames = model.audio_model(clips, attention_mask=mask).last_hidden_state
    everything = torch.nn.functional.normalize(model.audio_projection(frames.mean(1)), dim=-1)
    assert (found - everything)[1].abs().max() > 1e-3


def test_every_parameter_gets_a_gradient():
    clips, mask, _ = batch()
    model = residual(projection_dropout=0.5).train()
    ids = torch.randint(4, 20, (3, 6))
    model(input_ids=ids, input_values=clips, audio_attention_mask=mask, return_loss=True).loss.backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    assert not any("layer_logits" in name for name, _ in model.named_parameters())


@torch.no_grad()
def test_saved_and_loaded_it_is_the_same(tmp_path):
    model = residual(projection_dropout=0.5)
    model.save_pretrained(tmp_path)
    loaded = RaClapModel.from_pretrained(tmp_path).eval()
    assert (loaded.config.projection, loaded.config.projection_dropout) == ("residual_mlp", 0.5)
    clips, mask, _ = batch()
    expected = model.get_audio_features(clips, audio_attention_mask=mask).pooler_output
    torch.testing.assert_close(loaded.get_audio_features(clips, audio_attention_mask=mask).pooler_output, expected)


def test_a_folder_from_before_there_was_a_choice_loads_as_it_was(tmp_path):
    model = build()
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for name in ("projection", "projection_dropout"):
        del config[name]
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded, loading = RaClapModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not loading["missing_keys"] and not loading["unexpected_keys"]
    assert (loaded.config.projection, loaded.config.projection_dropout) == ("relu_mlp", 0.0)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"projection": "linear"}, "projection 'linear' is not one of relu_mlp, residual_mlp"),
        ({"projection_dropout": 0.1}, "projection_dropout belongs to the projection 'residual_mlp'"),
        ({"projection": "residual_mlp", "projection_dropout": 1.0}, "projection_dropout 1.0 is not between 0 and 1"),
        ({"audio_pooling": "first_mean"}, "audio_pooling 'first_mean' is not one of layer_weighted_mean, last_mean"),
        (
            {"audio_config": EcapaTdnnConfig(), "audio_pooling": "last_mean"},
            "audio_pooling 'last_mean': raclap_ecapa_tdnn pools by itself; take 'pooler'",
        ),
    ],
)
def test_a_choice_that_there_is_not_is_named(fields, message):
    with pytest.raises(ValueError, match=message):
        RaClapConfig(**fields)


def test_a_recipe_chooses_and_a_folder_keeps(text_folder, tmp_path):
    speech = {"config": {**speech_config().to_dict(), "model_type": "wavlm"}}
    wanted = {
        "projection": "residual_mlp", "projection_dim": 16, "projection_dropout": 0.25, "audio_pooling": "last_mean",
        "text_pooling": "cls",
    }  # fmt: skip
    text = {"pretrained": str(text_folder)}
    model, processor = build_model(ModelRecipe(speech=speech, text=text, **wanted))
    assert {name: getattr(model.config, name) for name in wanted} == wanted
    assert model.audio_projection.dropout.p == 0.25 and model.audio_projection.linear1.bias is None
    inputs = processor(audio=torch.randn(RATE).numpy(), text="a low voice", sampling_rate=RATE)
    assert model(**inputs).audio_embeds.shape == (1, 16)
    export(model, processor, tmp_path / "folder", card="")
    again, _ = build_model(ModelRecipe(init_from=str(tmp_path / "folder"), **wanted))
    assert {name: getattr(again.config, name) for name in wanted} == wanted
    for other in ({"projection": "relu_mlp"}, {"projection_dropout": 0.1, "projection": "residual_mlp"}):
        name = "projection_dropout" if "projection_dropout" in other else "projection"
        with pytest.raises(RecipeError, match=rf"model\.{name}: the recipe says .* has "):
            build_model(ModelRecipe(init_from=str(tmp_path / "folder"), **other))
    with pytest.raises(RecipeError, match="pools by itself"):
        build_model(ModelRecipe(speech={"config": ECAPA}, text=text, audio_pooling="last_mean"))
