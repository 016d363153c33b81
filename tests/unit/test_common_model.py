"""What a model of transformers is expected to do, for three families of towers."""

import copy

import pytest
import torch
from accelerate import infer_auto_device_map
from accelerate.utils import compute_module_sizes
from safetensors.torch import load_file
from test_modeling import TOWERS
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from encoder_families import SPEECH, TEXT
from modeling_raclap import RaClapConfig, RaClapModel, RaClapOutput
from tower_families import BATCH, FAMILIES, TOKENS, audio_inputs, family_config, family_model, text_inputs

WITH_ATTENTION = [name for name in FAMILIES if name != "ecapa-tdnn"]
families = pytest.mark.parametrize("name", FAMILIES)


def inputs_of(name: str) -> dict[str, Tensor]:
    return {**text_inputs(), **audio_inputs(name)}


@torch.no_grad()
def run(model: RaClapModel, name: str, **wanted) -> RaClapOutput:
    return model(**inputs_of(name), **wanted)


def assert_same_embeddings(found: RaClapOutput, expected: RaClapOutput, tolerance: float = 1e-6) -> None:
    for field in ("audio_embeds", "text_embeds"):
        torch.testing.assert_close(found[field].float(), expected[field].float(), rtol=0, atol=tolerance)


@families
def test_the_same_inputs_give_the_same_outputs(name):
    model = family_model(name)
    first, second = run(model, name), run(model, name)
    assert torch.equal(first.logits_per_audio, second.logits_per_audio)


@families
def test_a_tuple_holds_what_the_output_holds(name):
    model = family_model(name)
    output, as_tuple = run(model, name, return_loss=True), run(model, name, return_loss=True, return_dict=False)
    assert isinstance(as_tuple, tuple) and len(as_tuple) == len(output.to_tuple()) == 7
    for found, expected in zip(as_tuple[:5], output.to_tuple()[:5], strict=True):
        torch.testing.assert_close(found, expected)
    model.config.return_dict = False
    assert isinstance(run(model, name), tuple)


@families
@pytest.mark.parametrize("tower", ["text", "audio"])
def test_features_are_outputs_with_unit_embeddings(name, tower):
    model, inputs = family_model(name), text_inputs() if tower == "text" else audio_inputs(name)
    features = getattr(model, f"get_{tower}_features")
    with torch.no_grad():
        output, as_tuple = features(**inputs), features(**inputs, return_dict=False)
    assert isinstance(output, BaseModelOutputWithPooling) and isinstance(as_tuple, tuple)
    torch.testing.assert_close(output.pooler_output.norm(dim=-1), torch.ones(BATCH))
    torch.testing.assert_close(as_tuple[1], output.pooler_output)
    assert output.last_hidden_state.shape[0] == BATCH


@families
def test_hidden_states_are_returned_as_asked_or_configured(name):
    model = family_model(name, text_pooling="mean")
    asked = run(model, name, output_hidden_states=True)
    assert [tuple(state.shape) for state in asked.text_model_output.hidden_states] == [(BATCH, TOKENS, 32)] * 3
    states = asked.audio_model_output.hidden_states
    assert len(states) == (4 if name == "ecapa-tdnn" else 3) and all(state.shape[0] == BATCH for state in states)
    for tower in (model.config.audio_config, model.config.text_config):
        tower.output_hidden_states = True
    configured = run(model, name)
    for part in ("text_model_output", "audio_model_output"):
        for found, expected in zip(configured[part].hidden_states, asked[part].hidden_states, strict=True):
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", WITH_ATTENTION)
def test_attention_weights_sum_to_one_over_real_positions(name):
    output = run(family_model(name, attn_implementation="eager"), name, output_attentions=True)
    for tower in (output.text_model_output, output.audio_model_output):
        length = tower.last_hidden_state.shape[1]
        assert [tuple(weights.shape) for weights in tower.attentions] == [(BATCH, 2, length, length)] * 2
        torch.testing.assert_close(tower.attentions[0].sum(-1), torch.ones(BATCH, 2, length))
    assert output.text_model_output.attentions[0][1, :, :, 5:].abs().max() < 1e-6, "padding is not looked at"


@pytest.mark.parametrize("name", WITH_ATTENTION)
def test_states_and_attentions_are_part_of_the_graph(name):
    model = family_model(name, attn_implementation="eager")
    output = model(**inputs_of(name), output_hidden_states=True, output_attentions=True, return_loss=True)
    towers = (output.text_model_output, output.audio_model_output)
    kept = [tensor for tower in towers for tensor in (tower.hidden_states[0], tower.attentions[0])]
    for tensor in kept:
        tensor.retain_grad()
    output.loss.backward()
    assert all(tensor.grad.abs().sum() > 0 for tensor in kept)


def gradients(model: RaClapModel, name: str) -> dict[str, Tensor]:
    model.zero_grad()
    model(**inputs_of(name), return_loss=True).loss.backward()
    return {key: weight.grad.clone() for key, weight in model.named_parameters() if weight.grad is not None}


@families
def test_gradient_checkpointing_changes_no_gradient(name):
    model = family_model(name).train()
    plain = gradients(model, name)
    model.gradient_checkpointing_enable()
    assert model.is_gradient_checkpointing
    recomputed = gradients(model, name)
    assert recomputed.keys() == plain.keys()
    for key, gradient in plain.items():
        torch.testing.assert_close(
            recomputed[key], gradient, rtol=1e-4, atol=1e-6, msg=lambda m, key=key: f"{key}: {m}"
        )
    model.gradient_checkpointing_disable()
    assert not model.is_gradient_checkpointing


@families
def test_a_small_batch_can_be_learnt_by_heart(name):
    torch.manual_seed(0)
    model = family_model(name).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(20):
        loss = model(**inputs_of(name), return_loss=True).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@families
def test_saving_and_loading_twice_changes_nothing(name, tmp_path):
    model = family_model(name)
    expected = run(model, name)
    for folder in (tmp_path / "first", tmp_path / "second"):
        model.save_pretrained(folder)
        assert load_file(folder / "model.safetensors").keys() == model.state_dict().keys()
        model = RaClapModel.from_pretrained(folder)
        assert_same_embeddings(run(model, name), expected)
        assert "attn_implementation" not in (folder / "config.json").read_text()


@families
@pytest.mark.parametrize("change", [10, -4])
def test_resized_token_embeddings_are_saved_and_counted(name, change, tmp_path):
    model = family_model(name)
    size = model.config.text_config.vocab_size
    before = model.get_input_embeddings().weight.detach().clone()
    expected = run(model, name)
    resized = model.resize_token_embeddings(size + change)
    assert model.config.text_config.vocab_size == model.text_model.config.vocab_size == size + change
    assert resized is model.get_input_embeddings() and resized.num_embeddings == size + change
    kept = min(size, size + change)
    assert torch.equal(resized.weight[:kept], before[:kept])
    assert_same_embeddings(run(model, name), expected)
    model.save_pretrained(tmp_path)
    loaded, info = RaClapModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert loaded.get_input_embeddings().num_embeddings == size + change
    assert_same_embeddings(run(loaded, name), expected)


@families
def test_input_embeddings_can_be_replaced(name):
    model = family_model(name)
    replacement = nn.Embedding(64, 32)
    model.set_input_embeddings(replacement)
    assert model.get_input_embeddings() is replacement and model.text_model.get_input_embeddings() is replacement
    assert model.get_output_embeddings() is None and model.all_tied_weights_keys == {}


def same_size(found: Tensor, expected: Tensor) -> bool:
    """Of random weights: equal if constant, else of one order of magnitude."""
    if found.numel() == 1 or expected.float().std() == 0:
        return torch.equal(found, expected)
    return 0.3 < (found.float().std() / expected.float().std()).item() < 3


@pytest.mark.parametrize("speech", [*TOWERS, *SPEECH])
def test_what_a_file_lacks_starts_as_in_a_new_model(speech):
    def config() -> RaClapConfig:
        tower = copy.deepcopy({**TOWERS, **SPEECH}[speech])
        return RaClapConfig(
            audio_config=tower, text_config=copy.deepcopy(TEXT["bert"]), projection_dim=16, tag_head=True
        )

    torch.manual_seed(0)
    new = RaClapModel(config()).state_dict()
    junk = [torch.full((1 << 18,), float("nan")) for _ in range(8)]  # what uninitialised memory may then hold
    del junk
    loaded = RaClapModel.from_pretrained(None, config=config(), state_dict={}).state_dict()
    assert loaded.keys() == new.keys()
    # A new model scales each row of weight-normalised weights; here the scale is that of the weights.
    wrong = [key for key in new if "original" not in key and not same_size(loaded[key], new[key])]
    assert wrong == []
    assert all(value.isfinite().all() and value.abs().max() < 10 for key, value in loaded.items() if "original" in key)


@pytest.mark.parametrize("name", ["ecapa-tdnn", "whisper"])
def test_a_model_can_be_made_without_memory_and_then_started(name):
    """Not so towers with weight-normalised convolutions: the library's `init_weights` leaves those as memory was."""
    with torch.device("meta"):
        model = RaClapModel(family_config(name))
    assert {weight.device.type for weight in model.parameters()} == {"meta"}
    model.to_empty(device="cpu")
    model.init_weights()
    assert run(model.eval(), name).logits_per_audio.isfinite().all()


@families
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_takes_single_precision_inputs(name, dtype, tmp_path):
    model = family_model(name)
    model.save_pretrained(tmp_path)
    half = RaClapModel.from_pretrained(tmp_path, dtype=dtype)
    assert {weight.dtype for weight in half.parameters()} == {dtype}
    assert {half.config.dtype, half.config.audio_config.dtype, half.config.text_config.dtype} == {dtype}
    assert_same_embeddings(run(half, name), run(model, name), 0.05)
    half.save_pretrained(tmp_path / "half")
    assert RaClapModel.from_pretrained(tmp_path / "half", dtype="auto").dtype == dtype


CHOICES = {
    "default": (None, "sdpa", "sdpa"),
    "eager": ("eager", "eager", "eager"),
    "sdpa": ("sdpa", "sdpa", "sdpa"),
    "speech alone": ({"audio_config": "eager"}, "eager", "sdpa"),
    "both towers": ({"audio_config": "sdpa", "text_config": "eager"}, "sdpa", "eager"),
}


@families
@pytest.mark.parametrize("choice", CHOICES)
def test_attention_is_chosen_for_the_whole_or_a_tower(name, choice, tmp_path):
    asked, speech, text = CHOICES[choice]
    model = family_model(name)
    expected = run(model, name)
    model.save_pretrained(tmp_path)
    loaded = RaClapModel.from_pretrained(tmp_path, attn_implementation=asked)
    made = AutoModel.from_config(AutoConfig.from_pretrained(tmp_path), attn_implementation=asked)
    for other in (loaded, made):
        towers = (other.audio_model.config, other.text_model.config)
        assert towers == (other.config.audio_config, other.config.text_config)
        assert [tower._attn_implementation for tower in towers] == [speech, text]
    assert_same_embeddings(run(loaded, name), expected)
    if asked is not None:
        model.set_attn_implementation(asked)
        assert model.audio_model.config._attn_implementation == speech
        assert model.text_model.config._attn_implementation == text


def test_a_tower_without_the_attention_asked_for_takes_its_own(tmp_path):
    """DeBERTa knows "eager" alone."""
    config = RaClapConfig(audio_config=TOWERS["wavlm-base"], text_config=copy.deepcopy(TEXT["deberta-v2"]))
    model = RaClapModel(config)
    model.save_pretrained(tmp_path)
    loaded = RaClapModel.from_pretrained(tmp_path, attn_implementation="sdpa")
    model.set_attn_implementation("sdpa")
    for other in (loaded, model):
        assert other.audio_model.config._attn_implementation == "sdpa"
        assert other.text_model.config._attn_implementation == "eager"
    with pytest.raises(ValueError, match="does not support"):
        RaClapModel.from_pretrained(tmp_path, attn_implementation={"text_config": "flex_attention"})
    with pytest.raises(ValueError, match='"foo"` is not supported'):
        model.set_attn_implementation("foo")


@pytest.mark.parametrize("speech", [*TOWERS, *SPEECH])
def test_no_device_gets_a_part_of_a_layer(speech):
    """Spread over devices of many sizes, for every family of towers."""
    for text in TEXT if speech == "ecapa-tdnn" else ["bert"]:
        tower, text_config = copy.deepcopy({**TOWERS, **SPEECH}[speech]), copy.deepcopy(TEXT[text])
        model = RaClapModel(RaClapConfig(audio_config=tower, text_config=text_config, projection_dim=16))
        stacks = [module for module in model.modules() if type(module) is nn.ModuleList]
        layers = [layer for stack in stacks for layer in stack if type(layer) is not nn.ModuleList]
        total = compute_module_sizes(model)[""]
        for percent in range(10, 100, 5):
            memory = {0: percent * total // 100, "cpu": total}
            places = infer_auto_device_map(model, memory, no_split_module_classes=list(model._no_split_modules))
            for whole in (*layers, model.text_model.embeddings, model.audio_projection):
                assert len(devices_of(whole, model, places)) <= 1, type(whole).__name__


def devices_of(layer: nn.Module, model: nn.Module, places: dict[str, int | str]) -> set[int | str]:
    """Where the weights of a layer lie."""
    own = {id(weight) for weight in layer.parameters()}
    names = [name for name, weight in model.named_parameters() if id(weight) in own]
    return {
        device for name in names for place, device in places.items() if name == place or name.startswith(f"{place}.")
    }


@families
@pytest.mark.parametrize("part", [0.1, 0.5, 0.8])
def test_a_model_on_disk_in_part_is_the_same_model(name, part, tmp_path):
    model = family_model(name)
    model.save_pretrained(tmp_path)
    memory = {"cpu": int(part * compute_module_sizes(model)[""])}
    spread = RaClapModel.from_pretrained(
        tmp_path, device_map="auto", max_memory=memory, offload_folder=str(tmp_path / "offload")
    )
    assert set(spread.hf_device_map.values()) >= {"disk"}
    assert_same_embeddings(run(spread, name), run(model, name))


@pytest.mark.parametrize("name", ["wavlm", "ecapa-tdnn"])
def test_a_graph_without_breaks_holds_padded_batches(name):
    model = family_model(name)
    expected = run(model, name)
    with torch.no_grad():
        for tower, inputs in (("text", text_inputs()), ("audio", audio_inputs(name))):
            compiled = torch.compile(getattr(model, f"get_{tower}_features"), backend="eager", fullgraph=True)
            found = compiled(**inputs).pooler_output
            torch.testing.assert_close(found, expected[f"{tower}_embeds"], rtol=0, atol=1e-5)
            if tower == "audio":  # made with a padded batch, right for one that is not
                whole = {**inputs, "audio_attention_mask": torch.ones_like(inputs["audio_attention_mask"])}
                plain = model.get_audio_features(**whole).pooler_output
                torch.testing.assert_close(compiled(**whole).pooler_output, plain, rtol=0, atol=1e-5)
