"""The model against oracles: closed-form losses, naive pooling, and independence of a clip from its batch."""

import copy
import math

import numpy as np
import pytest
import torch
from transformers import HubertConfig, Wav2Vec2Config, WavLMConfig, WavLMModel

from conftest import RATE, tiny_bert_config
from modeling_raclap import (
    EcapaTdnnConfig,
    RaClapConfig,
    RaClapFeatureExtractor,
    RaClapModel,
    ResNet34Config,
    ResNet34Model,
    wavlm_attention_raclap,
)
from modeling_raclap.losses_raclap import info_nce
from modeling_raclap.modeling_raclap import build_tower, load_tower
from modeling_raclap.pooling_raclap import LayerWeightedMean, MaskedGroupNormConvLayer

SAMPLES = (16_000, 7_003, 31_001, 3_000)


def speech_config(config_class=WavLMConfig, norm="group", stable=False, **overrides):
    return config_class(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, conv_dim=(32, 32, 32),
        conv_stride=(5, 4, 2), conv_kernel=(10, 4, 2), num_feat_extract_layers=3, feat_extract_norm=norm,
        do_stable_layer_norm=stable, conv_bias=stable, num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2, **overrides,
    )  # fmt: skip


TOWERS = {
    "wavlm-base": speech_config(),
    "wavlm-large": speech_config(norm="layer", stable=True),
    "wav2vec2-base": speech_config(Wav2Vec2Config),
    "wav2vec2-large": speech_config(Wav2Vec2Config, "layer", True),
    "hubert-base": speech_config(HubertConfig),
    "hubert-large": speech_config(HubertConfig, "layer", True),
    "ecapa-tdnn": EcapaTdnnConfig(channels=64, mfa_channels=96, hidden_size=32),
    "resnet-34": ResNet34Config(channels=4, block_counts=(1, 1, 2, 1), hidden_size=32),
}
SPEAKER_ENCODERS = {
    "ecapa-tdnn": EcapaTdnnConfig(num_mel_bins=20, channels=16, mfa_channels=24, hidden_size=8),
    "resnet-34": ResNet34Config(num_mel_bins=20, channels=4, block_counts=(1, 1, 2, 1), hidden_size=8),
}


def build(audio_config, **fields) -> RaClapModel:
    torch.manual_seed(0)
    speech = copy.deepcopy(audio_config)  # a model writes the attention that it takes into its configuration
    config = RaClapConfig(audio_config=speech, text_config=tiny_bert_config(), projection_dim=32, **fields)
    return RaClapModel(config).eval()


def clips() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [(0.3 * rng.standard_normal(size)).astype(np.float32) for size in SAMPLES]


def extractor_for(name: str) -> RaClapFeatureExtractor:
    return RaClapFeatureExtractor(features="log_mel" if name in SPEAKER_ENCODERS else "waveform")


def embed(model, extractor, audio) -> torch.Tensor:
    with torch.no_grad():
        return model.get_audio_features(**extractor(audio, sampling_rate=RATE)).pooler_output


@pytest.mark.parametrize("name", TOWERS)
def test_clip_alone_equals_clip_in_padded_batch(name):
    model, extractor = build(TOWERS[name]), extractor_for(name)
    batch = embed(model, extractor, clips())
    alone = torch.cat([embed(model, extractor, clip) for clip in clips()])
    assert (batch - alone).abs().max() < 1e-5


@pytest.mark.parametrize("name", [name for name in TOWERS if name not in SPEAKER_ENCODERS])
def test_transformers_attend_through_the_fused_kernel(name, monkeypatch):
    """So the equality above is that of scaled-dot-product attention with its masks."""
    model, calls = build(TOWERS[name]), []
    fused = torch.nn.functional.scaled_dot_product_attention

    def counted(*args, **kwargs):
        calls.append(kwargs["attn_mask"])
        return fused(*args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    monkeypatch.setattr(wavlm_attention_raclap, "scaled_dot_product_attention", counted)
    embed(model, extractor_for(name), clips())
    assert len(calls) == 2 and all(mask is not None for mask in calls)


def test_padding_would_change_the_library_group_norm():
    """The oracle above can fail: with the library's own layer put back, it does."""
    model, extractor = build(TOWERS["wavlm-base"]), extractor_for("wavlm-base")
    torch.manual_seed(0)
    model.audio_model.feature_extractor.conv_layers[0] = WavLMModel(speech_config()).feature_extractor.conv_layers[0]
    model._masks_group_norm = False
    batch = embed(model, extractor, clips())
    alone = torch.cat([embed(model, extractor, clip) for clip in clips()])
    assert (batch - alone).abs().max() > 1e-4


def test_masked_group_norm_equals_the_library_without_padding():
    tower = WavLMModel(speech_config()).eval()
    layer = tower.feature_extractor.conv_layers[0]
    with torch.no_grad():
        layer.layer_norm.weight.uniform_(0.5, 2.0)
        layer.layer_norm.bias.uniform_(-1.0, 1.0)
        waveform = torch.randn(2, 1, 4000)
        expected = layer(waveform)
        masked = MaskedGroupNormConvLayer(layer)
        both = torch.stack([waveform[:, 0], torch.ones(2, 4000)], dim=1)[:, None]
        torch.testing.assert_close(masked(both), expected)
        torch.testing.assert_close(masked(waveform), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_masked_group_norm_counts_long_clips_in_half_precision(dtype):
    layer = MaskedGroupNormConvLayer(WavLMModel(speech_config()).feature_extractor.conv_layers[0])
    lengths = torch.tensor([70_001, 66_000])
    mask = (torch.arange(80_000) < lengths[:, None]).float()
    both = torch.stack([torch.randn(2, 80_000) * mask, mask], dim=1)[:, None]
    with torch.no_grad():
        expected = layer(both)[..., :13_000]
        rough = layer.to(dtype)(both.to(dtype))[..., :13_000].float()
    assert (rough - expected).norm() < 0.01 * expected.norm()


def test_group_norm_replacement_keeps_the_names_of_the_weights():
    model = build(TOWERS["wavlm-base"])
    assert list(model.audio_model.state_dict()) == list(WavLMModel(speech_config()).state_dict())


@pytest.mark.parametrize("name", ["wavlm-base", "wavlm-large", "wav2vec2-base", "hubert-large"])
def test_no_backward_pass_runs_through_frozen_convolutions(name):
    model, seen = build(TOWERS[name]).train(), []
    model.audio_model.feature_extractor.register_forward_hook(lambda *arguments: seen.append(arguments[2]))
    inputs = extractor_for(name)(clips(), sampling_rate=RATE)
    model.get_audio_features(**inputs)
    assert seen[0].requires_grad, "trained convolutions keep what their gradient needs"
    model.audio_model.feature_extractor.requires_grad_(False)
    model.get_audio_features(**inputs)
    assert not seen[1].requires_grad


def test_layer_weighted_mean_is_equation_2():
    torch.manual_seed(0)
    layers = tuple(torch.randn(2, 5, 3) for _ in range(4))
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    pool = LayerWeightedMean(4, "softmax")
    torch.nn.init.normal_(pool.layer_logits)
    alpha = torch.softmax(pool.layer_logits, 0)
    naive = torch.stack(
        [
            sum(alpha[layer] * layers[layer][item, : int(mask[item].sum())].mean(0) for layer in range(4))
            for item in range(2)
        ]
    )
    torch.testing.assert_close(pool(layers, mask), naive)


@pytest.mark.parametrize("kind", ["softmax", "raw"])
def test_all_layers_weigh_the_same_at_the_start(kind):
    model = build(TOWERS["wavlm-base"], layer_weights=kind)
    torch.testing.assert_close(model.layer_weights["audio"], torch.full((3,), 1 / 3))


def test_pooling_takes_the_last_layer_after_the_final_norm():
    """Stable-layer-norm towers record their last state before it."""
    model, extractor = build(TOWERS["wavlm-large"]), extractor_for("wavlm-large")
    with torch.no_grad():
        model.audio_pooling.layer_logits.copy_(torch.tensor([-50.0, -50.0, 50.0]))
        inputs = extractor(clips()[0], sampling_rate=RATE)
        tower = model.audio_model(inputs["input_values"]).last_hidden_state.mean(1)
        expected = torch.nn.functional.normalize(model.audio_projection(tower), dim=-1)
    torch.testing.assert_close(embed(model, extractor, clips()[0]), expected)


def test_loss_is_log_b_for_equal_embeddings_and_zero_for_perfect_ones():
    same = torch.ones(8, 4) / 2
    assert info_nce(same, same, torch.tensor(100.0)).item() == pytest.approx(math.log(8), abs=1e-5)
    perfect = torch.eye(8)
    assert info_nce(perfect, perfect, torch.tensor(100.0)).item() == pytest.approx(0.0, abs=1e-6)


def test_loss_is_symmetric_in_the_modalities_and_literal_form_is_not():
    torch.manual_seed(0)
    audio, text = (torch.nn.functional.normalize(torch.randn(6, 4, dtype=torch.float64), dim=-1) for _ in range(2))
    scale = torch.tensor(5.0, dtype=torch.float64)
    torch.testing.assert_close(info_nce(audio, text, scale), info_nce(text, audio, scale))
    one_way = info_nce(audio, text, scale, symmetric=False), info_nce(text, audio, scale, symmetric=False)
    assert abs(one_way[0] - one_way[1]) > 1e-3
    torch.testing.assert_close(sum(one_way) / 2, info_nce(audio, text, scale))


def test_forward_returns_unit_embeddings_loss_and_transposed_logits():
    model, extractor = build(TOWERS["ecapa-tdnn"]), extractor_for("ecapa-tdnn")
    ids = torch.randint(4, 20, (4, 6))
    output = model(input_ids=ids, **extractor(clips(), sampling_rate=RATE), return_loss=True)
    torch.testing.assert_close(output.audio_embeds.norm(dim=-1), torch.ones(4))
    torch.testing.assert_close(output.logits_per_text, output.logits_per_audio.T)
    expected = info_nce(output.audio_embeds, output.text_embeds, model.logit_scale)
    torch.testing.assert_close(output.loss, expected)
    assert isinstance(model(input_ids=ids, return_dict=False), tuple)


def test_forward_with_one_modality_and_with_none():
    model = build(TOWERS["ecapa-tdnn"])
    output = model(input_ids=torch.randint(4, 20, (2, 6)))
    assert output.audio_embeds is None and output.logits_per_audio is None
    assert output.text_embeds.shape == (2, 32)
    with pytest.raises(ValueError, match="input_ids, audio inputs"):
        model()
    with pytest.raises(ValueError, match="as many clips as captions"):
        model(input_ids=torch.randint(4, 20, (2, 6)), return_loss=True)


def test_text_embedding_ignores_padding():
    model = build(TOWERS["ecapa-tdnn"])
    ids = torch.tensor([[2, 5, 6, 3, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 0, 0]])
    padded = model.get_text_features(ids, mask).pooler_output
    torch.testing.assert_close(padded, model.get_text_features(ids[:, :4], mask[:, :4]).pooler_output)


@pytest.mark.parametrize("pooling", ["cls", "layer_weighted_mean"])
def test_other_text_poolings(pooling):
    model = build(TOWERS["ecapa-tdnn"], text_pooling=pooling)
    ids = torch.tensor([[2, 5, 6, 3]])
    states = model.text_model(ids, output_hidden_states=True)
    pooled = states.last_hidden_state[:, 0] if pooling == "cls" else torch.stack(states.hidden_states).mean((0, 2))
    expected = torch.nn.functional.normalize(model.text_projection(pooled), dim=-1)
    torch.testing.assert_close(model.get_text_features(ids).pooler_output, expected)


@pytest.mark.parametrize(("value", "expected"), [(-3.0, 1.0), (9.0, 100.0), (2.0, math.exp(2.0))])
def test_logit_scale_is_bounded_in_log_space(value, expected):
    model = build(TOWERS["ecapa-tdnn"])
    with torch.no_grad():
        model.log_logit_scale.fill_(value)
    model.clamp_logit_scale_()
    assert model.logit_scale.item() == pytest.approx(expected, rel=1e-5)


def test_save_and_load_give_the_same_embeddings(tmp_path):
    for name in ("wavlm-base", *SPEAKER_ENCODERS):
        model, extractor = build(TOWERS[name]), extractor_for(name)
        model.save_pretrained(tmp_path / name)
        loaded = RaClapModel.from_pretrained(tmp_path / name).eval()
        assert all(torch.equal(weight, loaded.state_dict()[key]) for key, weight in model.state_dict().items())
        torch.testing.assert_close(embed(loaded, extractor, clips()), embed(model, extractor, clips()))


def test_missing_raw_parameters_get_their_starting_values(tmp_path):
    model = build(TOWERS["wavlm-base"])
    weights = {
        k: v for k, v in model.state_dict().items() if k not in ("log_logit_scale", "audio_pooling.layer_logits")
    }
    model.save_pretrained(tmp_path, state_dict=weights)
    loaded = RaClapModel.from_pretrained(tmp_path)
    assert loaded.logit_scale.item() == pytest.approx(1 / 0.07, rel=1e-5)
    torch.testing.assert_close(loaded.layer_weights["audio"], torch.full((3,), 1 / 3))


def test_from_speech_text_pretrained_takes_both_towers(tmp_path, text_folder):
    speech = WavLMModel(speech_config(mask_time_prob=0.05, layerdrop=0.1))
    speech.save_pretrained(tmp_path)
    model = RaClapModel.from_speech_text_pretrained(str(tmp_path), str(text_folder))
    for name, weight in model.audio_model.state_dict().items():
        torch.testing.assert_close(weight, speech.state_dict()[name], rtol=0, atol=0)
    assert model.config.audio_config.mask_time_prob == 0 and model.config.audio_config.layerdrop == 0
    assert not any(name.endswith("masked_spec_embed") for name, _ in model.named_parameters())
    model.save_pretrained(tmp_path / "joined")
    saved = (tmp_path / "joined" / "config.json").read_text()
    assert str(tmp_path) not in saved and str(text_folder) not in saved, "folders of this machine do not travel"


def test_every_trainable_parameter_gets_a_gradient():
    """DDP stops at a parameter that takes no part."""
    for name in ("wavlm-base", "wavlm-large", *SPEAKER_ENCODERS):
        model, extractor = build(TOWERS[name]).train(), extractor_for(name)
        ids = torch.randint(4, 20, (4, 6))
        model(input_ids=ids, **extractor(clips(), sampling_rate=RATE), return_loss=True).loss.backward()
        missing = [n for n, p in model.named_parameters() if p.grad is None]
        assert missing == []


def speaker_encoder(name: str) -> torch.nn.Module:
    """With normalisations that do not keep zero at zero, so that a frame of padding would show."""
    torch.manual_seed(0)
    encoder = build_tower(SPEAKER_ENCODERS[name]).eval()
    for module in encoder.modules():
        if isinstance(module, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
            for values in (module.running_mean, module.bias.data):
                values.normal_()
            for values in (module.running_var, module.weight.data):
                values.uniform_(0.5, 1.5)
    return encoder


@pytest.mark.parametrize("name", SPEAKER_ENCODERS)
def test_speaker_encoder_sees_no_padding_at_any_length(name):
    encoder = speaker_encoder(name)
    lengths = torch.tensor([*range(1, 35), 63, 64, 65, 101])
    features = torch.randn(len(lengths), 110, 20)  # what lies under the mask is noise, not zero
    mask = (torch.arange(110) < lengths[:, None]).long()
    with torch.no_grad():
        batch = encoder(features, attention_mask=mask).pooler_output
        alone = [encoder(row[None, :n]).pooler_output for row, n in zip(features, lengths, strict=True)]
        bare = encoder(features).pooler_output
    assert (batch - torch.cat(alone)).abs().max() < 1e-5
    assert (batch - bare).abs().max() > 1e-2, "without the mask the padding counts"


@pytest.mark.parametrize("name", SPEAKER_ENCODERS)
def test_training_statistics_of_speaker_encoders_ignore_padding(name):
    """Two clips padded leave the same running statistics behind as the two alone, in every normalisation."""
    encoder = speaker_encoder(name).train()
    features = torch.randn(2, 51, 20)
    padded = torch.cat([features, torch.full((2, 30, 20), 7.0)], dim=1)
    mask = (torch.arange(81) < 51).long().expand(2, -1)
    start = {key: value.clone() for key, value in encoder.state_dict().items()}
    alone = encoder(features).pooler_output
    expected = {key: value.clone() for key, value in encoder.state_dict().items() if "running" in key}
    encoder.load_state_dict(start)
    torch.testing.assert_close(encoder(padded, attention_mask=mask).pooler_output, alone, rtol=1e-4, atol=1e-4)
    for key, value in expected.items():
        torch.testing.assert_close(encoder.state_dict()[key], value, msg=lambda text, key=key: f"{key}: {text}")


def test_resnet_34_has_the_size_and_names_of_wespeaker():
    """6,634,336 weights: ResNet34 of WeSpeaker for 80 mel bins and embeddings of 256."""
    model = ResNet34Model(ResNet34Config())
    assert sum(weight.numel() for weight in model.parameters()) == 6_634_336
    names = set(model.state_dict())
    assert names >= {
        "conv1.weight", "bn1.running_mean", "layer1.2.conv2.weight", "layer2.0.shortcut.0.weight",
        "layer2.0.shortcut.1.running_var", "layer3.5.bn2.bias", "layer4.2.bn1.weight", "seg_1.weight",
    }  # fmt: skip
    assert not any(name.startswith("layer1.0.shortcut") for name in names)


def test_resnet_34_pools_mean_and_unbiased_deviation_of_frames():
    encoder = speaker_encoder("resnet-34")
    with torch.no_grad():
        output = encoder(torch.randn(2, 50, 20))
        frames = output.last_hidden_state
        statistics = torch.cat([frames.mean(1), (frames.var(1) + 1e-7).sqrt()], dim=1)
    assert frames.shape == (2, 7, 32 * 3)  # 50 frames and 20 mel bins, halved three times and rounded up
    torch.testing.assert_close(output.pooler_output, encoder.seg_1(statistics))


@pytest.mark.parametrize("name", SPEAKER_ENCODERS)
def test_speaker_encoder_alone_saves_and_loads_as_a_tower(name, tmp_path):
    encoder = speaker_encoder(name)
    encoder.save_pretrained(tmp_path)
    loaded = load_tower(str(tmp_path)).eval()
    assert type(loaded) is type(encoder)
    features = torch.randn(1, 30, 20)
    torch.testing.assert_close(loaded(features).pooler_output, encoder(features).pooler_output)
    assert RaClapConfig(audio_config=encoder.config.to_dict()).audio_pooling == "pooler"


def test_config_names_what_is_wrong():
    with pytest.raises(ValueError, match="text_pooling 'max'"):
        RaClapConfig(text_pooling="max")
    with pytest.raises(ValueError, match="model_type 'nonsense'"):
        RaClapConfig(audio_config={"model_type": "nonsense"})
    with pytest.raises(ValueError, match="multiple of res2net_scale"):
        EcapaTdnnConfig(channels=30)
    with pytest.raises(ValueError, match="four stages"):
        ResNet34Config(block_counts=(3, 4, 6))
    with pytest.raises(ValueError, match="either input_values or input_features"):
        build(TOWERS["ecapa-tdnn"]).get_audio_features()
