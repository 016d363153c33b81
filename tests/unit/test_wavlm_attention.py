"""WavLM's attention against the library's own, in double precision, padding and gradients included."""

import pytest
import torch
from test_modeling import speech_config
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.functional import scaled_dot_product_attention
from transformers import BertModel, WavLMConfig, WavLMForCTC, WavLMModel
from transformers.modeling_layers import GradientCheckpointingLayer

from conftest import tiny_bert_config
from modeling_raclap import EcapaTdnnConfig, RaClapConfig, RaClapModel, wavlm_attention_raclap
from modeling_raclap.modeling_raclap import build_tower, load_tower
from modeling_raclap.wavlm_attention_raclap import (
    GatedBiasAttention,
    WavLMTower,
    add_gated_bias,
    gated_mask,
    real_blocks,
)
from raclap.errors import RecipeError
from raclap.training.setup import checkpoint_speech

LAYOUTS = {"base": ("group", False), "large": ("layer", True)}
SAMPLES = torch.tensor([9000, 4000, 6500])


def config(layout: str = "base", **overrides) -> WavLMConfig:
    """A tower without dropout whose bias stops growing within its clips, so that every bucket is in use."""
    norm, stable = LAYOUTS[layout]
    quiet = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "feat_proj_dropout": 0.0}
    return speech_config(
        norm=norm, stable=stable, num_buckets=32, max_bucket_distance=40, mask_time_prob=0.0, **{**quiet, **overrides}
    )


def both(layout: str) -> tuple[WavLMModel, WavLMTower]:
    """The library's tower and ours with the same weights, large enough for biases and gates to matter."""
    torch.manual_seed(0)
    library = WavLMModel(config(layout)).double().eval()
    for weight in library.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.5)
    own = WavLMTower(config(layout)).double().eval()
    own.load_state_dict(library.state_dict())
    return library, own


def waveforms() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(3, int(SAMPLES.max()), dtype=torch.float64, generator=generator)
    return values, (torch.arange(values.shape[1]) < SAMPLES[:, None]).long()


def flat_gradient(model: torch.nn.Module, loss: torch.Tensor) -> torch.Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([weight.grad.flatten() for weight in model.parameters()])


def random_attention() -> GatedBiasAttention:
    return both("base")[1].encoder.layers[0].attention


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("padded", [False, True])
def test_states_and_gradients_are_the_library_s(layout, padded):
    values, mask = waveforms()
    outputs, gradients = [], []
    for tower in both(layout):
        output = tower(values, attention_mask=mask if padded else None, output_hidden_states=True)
        outputs.append(output)
        gradients.append(flat_gradient(tower, output.last_hidden_state.square().mean()))
    for theirs, ours in zip(outputs[0].hidden_states, outputs[1].hidden_states, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    assert (gradients[1] - gradients[0]).norm() < 1e-12 * gradients[0].norm()


@pytest.mark.parametrize("part", ["encoder.layers.0.attention.rel_attn_embed", "encoder.layers.1.attention"])
def test_bias_and_gates_count(part):
    """The oracle above can fail: without one layer's bias or gates the states are others."""
    _, own = both("base")
    values, mask = waveforms()
    before = own(values, attention_mask=mask).last_hidden_state
    torch.nn.init.zeros_(next(own.get_submodule(part).parameters()))
    assert (own(values, attention_mask=mask).last_hidden_state - before).abs().max() > 1e-3


@pytest.mark.parametrize("layout", LAYOUTS)
def test_names_and_random_weights_are_the_library_s(layout):
    towers = []
    for build in (WavLMModel, WavLMTower, build_tower):
        torch.manual_seed(0)
        towers.append(build(config(layout)).state_dict())
    assert list(towers[0]) == list(towers[1]) == list(towers[2])
    for name, weight in towers[0].items():
        assert torch.equal(towers[1][name], weight) and torch.equal(towers[2][name], weight), name


@pytest.mark.parametrize("published_as", ["WavLMModel", "WavLMForCTC", "old names"])
def test_published_weights_load(published_as, tmp_path):
    if published_as == "WavLMForCTC":
        published = WavLMForCTC(config(vocab_size=8))
        weights = published.wavlm.state_dict()
    else:
        published = WavLMModel(config())
        weights = published.state_dict()
    state = published.state_dict()
    if published_as == "old names":  # as before torch's parametrisations, and in all files of the Hub
        ends = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
        for new, old in ends.items():
            state[f"encoder.pos_conv_embed.conv.{old}"] = state.pop(f"encoder.pos_conv_embed.conv.{new}")
    published.save_pretrained(tmp_path, state_dict=state)
    tower = load_tower(str(tmp_path))
    assert isinstance(tower, WavLMTower)
    for name, weight in tower.state_dict().items():
        assert torch.equal(weight, weights[name]), name


def test_a_saved_tower_is_a_wavlm_of_the_library(tmp_path):
    _, own = both("large")
    own.save_pretrained(tmp_path)
    library = WavLMModel.from_pretrained(tmp_path, dtype=torch.float64)
    values, mask = waveforms()
    theirs, ours = (tower(values, attention_mask=mask).last_hidden_state for tower in (library, own))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def kernels_used(tower: torch.nn.Module, monkeypatch: pytest.MonkeyPatch, **kwargs) -> int:
    """How many layers call scaled-dot-product attention."""
    calls = []

    def counted(*args, **options):
        calls.append(args)
        return scaled_dot_product_attention(*args, **options)

    monkeypatch.setattr(wavlm_attention_raclap, "scaled_dot_product_attention", counted)
    values, mask = waveforms()
    tower(values.to(tower.dtype), attention_mask=mask, **kwargs)
    return len(calls)


def test_configuration_chooses_the_implementation(monkeypatch):
    tower = build_tower(config())
    assert tower.config._attn_implementation == "sdpa"
    assert kernels_used(tower, monkeypatch) == 2
    tower.set_attn_implementation("eager")
    assert kernels_used(tower, monkeypatch) == 0
    assert kernels_used(build_tower(config(attn_implementation="eager")), monkeypatch) == 0


def test_a_joined_tower_is_not_bound_to_what_the_library_s_class_knows(tmp_path):
    library, text = WavLMModel(config()), BertModel(tiny_bert_config())
    assert library.config._attn_implementation == "eager"
    joined = RaClapModel.from_speech_text_pretrained(library, text)
    assert joined.audio_model.config._attn_implementation == "sdpa"
    library.save_pretrained(tmp_path)
    chosen = RaClapModel.from_speech_text_pretrained(load_tower(str(tmp_path), attn_implementation="eager"), text)
    assert chosen.audio_model.config._attn_implementation == "eager"


def test_attention_weights_are_returned_when_asked_for(monkeypatch):
    values, mask = waveforms()
    theirs, ours = (tower(values, attention_mask=mask, output_attentions=True) for tower in both("base"))
    assert len(ours.attentions) == 2
    for expected, found in zip(theirs.attentions, ours.attentions, strict=True):  # theirs: the mean, a copy a head
        torch.testing.assert_close(found.mean(dim=1), expected[:, 0], rtol=0, atol=1e-12)
        assert (found[:, 0] - found[:, 1]).abs().max() > 1e-3, "each head attends by itself"
    torch.testing.assert_close(ours.last_hidden_state, theirs.last_hidden_state, rtol=0, atol=1e-12)
    assert kernels_used(both("base")[1], monkeypatch, output_attentions=True) == 0


def test_the_bias_is_computed_once_a_forward_pass(monkeypatch):
    tower, calls = build_tower(config()), []
    original = GatedBiasAttention._bias_at
    monkeypatch.setattr(GatedBiasAttention, "_bias_at", lambda *args: calls.append(args) or original(*args))
    tower(waveforms()[0].float())
    assert len(calls) == 1


def test_autocast_to_bf16_is_near_single_precision():
    tower = build_tower(config()).train()
    values, mask = waveforms()
    exact = tower(values.float(), attention_mask=mask).last_hidden_state
    with torch.autocast("cpu", torch.bfloat16):
        rough = tower(values.float(), attention_mask=mask).last_hidden_state
    rough.float().square().mean().backward()
    assert (rough - exact).norm() < 0.03 * exact.norm()
    assert tower.encoder.layers[0].attention.rel_attn_embed.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("reentrant", [None, True])
def test_gradient_checkpointing_changes_no_gradient(layout, reentrant):
    """With dropout on: the recomputed layers must drop the same."""
    torch.manual_seed(0)
    speech = config(layout, hidden_dropout=0.1, attention_dropout=0.1)
    model = RaClapModel(RaClapConfig(audio_config=speech, text_config=tiny_bert_config(), projection_dim=16)).train()
    values, mask = waveforms()

    def gradient() -> torch.Tensor:
        torch.manual_seed(1)
        embeds = model.get_audio_features(values.float(), audio_attention_mask=mask).pooler_output
        model.zero_grad()
        embeds[:, 0].sum().backward()
        return torch.cat([weight.grad.flatten() for weight in model.audio_model.parameters()])

    plain = gradient()
    model.gradient_checkpointing_enable(None if reentrant is None else {"use_reentrant": reentrant})
    recomputed = []
    model.audio_model.encoder.layers[1].attention.register_forward_hook(lambda *_: recomputed.append(1))
    torch.testing.assert_close(gradient(), plain, rtol=1e-5, atol=1e-8)
    assert len(recomputed) == 2, "once forward, once again for the gradient"


def test_a_recipe_checkpoints_the_speech_tower_alone():
    model = RaClapModel(RaClapConfig(audio_config=config(), text_config=tiny_bert_config()))
    checkpoint_speech(model)
    layers = {name: module for name, module in model.named_modules() if isinstance(module, GradientCheckpointingLayer)}
    assert layers and all(module.gradient_checkpointing == ("audio" in name) for name, module in layers.items())
    other = RaClapModel(RaClapConfig(audio_config=EcapaTdnnConfig(), text_config=tiny_bert_config()))
    with pytest.raises(RecipeError, match=r"training\.gradient_checkpointing: EcapaTdnnModel cannot"):
        checkpoint_speech(other)


def test_a_graph_without_breaks_is_the_same_tower():
    _, own = both("base")
    attention = own.encoder.layers[0].attention
    values, mask = torch.randn(2, 30, 32, dtype=torch.float64), torch.arange(30) < torch.tensor([[30], [11]])
    compiled = torch.compile(attention, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(values, mask)[0], attention(values, mask)[0])


def test_score_function_of_flex_attention_adds_the_mask():
    """Over all clips, heads, queries and keys; clips are longer than the distance from which the bias is constant."""
    attention = random_attention()
    hidden, mask = torch.randn(2, 60, 32, dtype=torch.float64), torch.arange(60) < torch.tensor([[60], [33]])
    gate = attention._gate(hidden)
    by_distance = attention._share_by_distance(mask, hidden.device)
    score_mod = add_gated_bias(gate, by_distance.bias)
    indices = torch.meshgrid(*map(torch.arange, (2, 2, 60, 60)), indexing="ij")
    scores = score_mod(torch.zeros(2, 2, 60, 60, dtype=torch.float64), *indices)
    is_real = by_distance.padding.mask_mod(*indices)
    by_pair = attention._share_by_pair(mask, attention._split_heads(hidden))
    expected = gated_mask(gate, by_pair)
    torch.testing.assert_close(scores.masked_fill(~is_real, -torch.inf), expected, rtol=0, atol=1e-14)
    weights = [attention.rel_attn_embed.weight, attention.gru_rel_pos_const]
    direction = torch.randn(2, 2, 60, 60, dtype=torch.float64)
    theirs = torch.autograd.grad((gate * by_pair.bias * direction).sum(), weights, retain_graph=True)
    ours = torch.autograd.grad((scores * direction).sum(), weights)
    for found, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("frames", [[60, 33], [300, 128], [256, 129]])
def test_flex_attention_itself_attends_alike(frames):
    """Uncompiled, as it runs on a CPU: several blocks, some of them without a real key."""
    attention, length = random_attention(), max(frames)
    mask = torch.arange(length) < torch.tensor(frames)[:, None]
    with torch.no_grad():
        query, key, value = torch.randn(3, 2, 2, length, 16, dtype=torch.float64)
        gate = attention._gate(torch.randn(2, length, 32, dtype=torch.float64))
        by_pair = attention._share_by_pair(mask, query)
        expected = scaled_dot_product_attention(query, key, value, attn_mask=gated_mask(gate, by_pair))
        by_distance = attention._share_by_distance(mask, query.device)
        score_mod = add_gated_bias(gate, by_distance.bias)
        found = flex_attention(query, key, value, score_mod=score_mod, block_mask=by_distance.padding)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_tower_through_flex_attention_is_the_same_tower(layout, monkeypatch):
    """Where there is no GPU: what the device check keeps out, uncompiled."""
    tower = both(layout)[1].float()
    values, mask = waveforms()

    def uncompiled(*tensors, training, **options):
        return flex_attention(*tensors, **options)

    with torch.no_grad():
        expected = tower(values.float(), attention_mask=mask).last_hidden_state
        monkeypatch.setattr(wavlm_attention_raclap, "_check_flex", lambda *_: None)
        monkeypatch.setattr(wavlm_attention_raclap, "compile_friendly_flex_attention", uncompiled)
        tower.set_attn_implementation("flex_attention")
        found = tower(values.float(), attention_mask=mask).last_hidden_state
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_blocks_without_a_real_key_are_skipped():
    mask = torch.arange(400) < torch.tensor([400, 128, 129, 1])[:, None]
    assert real_blocks(mask).kv_num_blocks[:, 0, 0].tolist() == [4, 1, 2, 1]


def test_flex_attention_says_what_it_cannot_do():
    tower = build_tower(config(attn_implementation="flex_attention"))
    with pytest.raises(ValueError, match='"flex_attention" needs a GPU; on a CPU take "sdpa"'):
        tower(waveforms()[0].float())
    with pytest.raises(ValueError, match=r"set attention_dropout \(now 0.1\) to 0"):
        wavlm_attention_raclap._check_flex(torch.device("cuda"), 0.1)
    with pytest.raises(ValueError, match="does not support Flash Attention 2"):
        build_tower(config(attn_implementation="flash_attention_2"))
