"""Encoder families: what is padded does not count, published layouts load, limits are named."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertForCTC,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperModel,
)

from conftest import RATE, tiny_bert_config, tone
from encoder_families import AST, SMALL, SPEECH, TEXT, W2V_BERT, WHISPER, save_text
from modeling_raclap import RaClapConfig, RaClapFeatureExtractor, RaClapModel, RaClapProcessor
from modeling_raclap.encoders_raclap import frame_mask
from modeling_raclap.modeling_raclap import load_tower
from raclap.data.collection import read_split
from raclap.errors import AudioError, ModelFolderError, RecipeError
from raclap.hub.export import export
from raclap.model_folder import load_model_folder
from raclap.recipe import ModelRecipe
from raclap.training.objectives import embed_pairs
from raclap.training.towers import build_model

SAMPLES = (16_000, 7_003, 31_001, 3_000, 900)
CASES = [(name, pooling) for pooling in ("layer_weighted_mean", "last_mean") for name in SPEECH] + [("ast", "pooler")]
CAPTIONS = ["a low voice", "the person speaks in a high tone and it is loud", "loud", "a quiet voice with it"]


def clips() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [tone(rng.uniform(100, 400), 0.3, size / RATE, rng) for size in SAMPLES]


def build(speech: dict, text_folder: Path, **model) -> tuple[RaClapModel, RaClapProcessor]:
    torch.manual_seed(0)
    sections = {"speech": speech, "text": {"pretrained": str(text_folder)}, "projection_dim": 32, **model}
    built = build_model(ModelRecipe.model_validate(sections))
    with torch.no_grad():  # AST's positions and tokens start at zero
        for name, parameter in built[0].audio_model.named_parameters():
            if "token" in name or "position_embeddings" in name:
                parameter.normal_(std=0.1)
    return built


@torch.no_grad()
def embed(model: RaClapModel, processor: RaClapProcessor, audio) -> torch.Tensor:
    return model.get_audio_features(**processor(audio=audio, sampling_rate=RATE)).pooler_output


@pytest.mark.parametrize(("name", "pooling"), CASES)
def test_a_clip_alone_equals_the_clip_in_a_padded_batch(name, pooling, text_folder):
    model, processor = build({"config": SPEECH[name]}, text_folder, audio_pooling=pooling)
    assert model.config.audio_pooling == pooling
    batch = embed(model, processor, clips())
    alone = torch.cat([embed(model, processor, clip) for clip in clips()])
    assert (batch - alone).abs().max() < 1e-5
    assert (batch[:, None] - batch[None]).abs().amax(-1).add(torch.eye(5)).min() > 1e-4, "clips differ"


@pytest.mark.parametrize("name", ["whisper", "ast"])
def test_silence_of_the_window_is_not_pooled(name, text_folder):
    """What the encoder says of the real frames alone, averaged by hand."""
    model, processor = build({"config": SPEECH[name]}, text_folder)
    inputs = processor(audio=clips()[1], sampling_rate=RATE)
    features, frames = inputs["input_features"], int(inputs["audio_attention_mask"].sum())
    with torch.no_grad():
        if name == "whisper":
            states = model.audio_model(features.transpose(1, 2), output_hidden_states=True)
            real = [state[0, : (frames + 1) // 2] for state in states.hidden_states]
        else:
            states = model.audio_model(features, output_hidden_states=True)
            columns = (256 - 16) // 10 + 1
            whole = [row * columns + n for row in range(3) for n in range(columns) if 10 * n + 16 <= frames]
            layers = (*states.hidden_states[:-1], states.last_hidden_state)
            real = [layer[0, 2:][whole] for layer in layers]
        pooled = torch.stack([state.mean(0) for state in real]).mean(0)
        expected = torch.nn.functional.normalize(model.audio_projection(pooled), dim=-1)
    torch.testing.assert_close(embed(model, processor, clips()[1])[0], expected, rtol=1e-5, atol=1e-6)


def test_frames_of_whisper_follow_its_convolutions():
    """A frame of the encoder counts as real as soon as its own stride has a real log-mel frame in it."""
    mask = torch.tensor([[1] * 1 + [0] * 5, [1] * 4 + [0] * 2, [1] * 5 + [0] * 1])
    assert frame_mask(WhisperConfig(), mask, 3).sum(1).tolist() == [1, 2, 3]


def test_a_clip_shorter_than_a_patch_of_ast_still_has_one():
    mask = torch.tensor([[1] * 3 + [0] * 61, [1] * 26 + [0] * 38])
    real = frame_mask(ASTConfig(**SMALL, max_length=64, num_mel_bins=26), mask, 2 + 2 * 5)
    assert real.tolist() == [[0, 0, *([1, 0, 0, 0, 0] * 2)], [0, 0, *([1, 1, 0, 0, 0] * 2)]]


@pytest.mark.parametrize("name", ["whisper", "wav2vec2-bert", "ast"])
def test_every_weight_that_is_trained_gets_a_gradient(name, text_folder):
    model, processor = build({"config": SPEECH[name]}, text_folder)
    model.train()(**processor(text=CAPTIONS, audio=clips()[:4], sampling_rate=RATE), return_loss=True).loss.backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    fixed = [n for n, p in model.named_parameters() if not p.requires_grad]
    assert fixed == (["audio_model.embed_positions.weight"] if name == "whisper" else [])


@pytest.mark.parametrize(("name", "pooling"), CASES)
def test_an_export_gives_the_same_embeddings(name, pooling, text_folder, tmp_path):
    model, processor = build({"config": SPEECH[name]}, text_folder, audio_pooling=pooling)
    export(model, processor, tmp_path / "export", card="")
    loaded, its_processor = load_model_folder(tmp_path / "export")
    assert its_processor.feature_extractor.to_dict() == processor.feature_extractor.to_dict()
    assert torch.equal(embed(loaded, its_processor, clips()), embed(model, processor, clips()))
    again, _ = build_model(ModelRecipe(init_from=str(tmp_path / "export")))
    trained = [{n for n, p in each.named_parameters() if p.requires_grad} for each in (model, again)]
    assert trained[0] == trained[1]


def publish(name: str, folder: Path) -> torch.nn.Module:
    """A folder in the layout that the family is published in; returns the encoder in it."""
    torch.manual_seed(1)
    fields = {key: value for key, value in SPEECH[name].items() if key != "model_type"}
    if name == "whisper":
        whole = WhisperForConditionalGeneration(WhisperConfig(**fields))
        WhisperFeatureExtractor(feature_size=20, chunk_length=2, dither=1e-3).save_pretrained(folder)
        encoder = whole.model.encoder
    elif name == "ast":
        whole = ASTForAudioClassification(ASTConfig(**fields))
        ASTFeatureExtractor(num_mel_bins=36, max_length=256, mean=-3.0, std=2.0).save_pretrained(folder)
        encoder = whole.audio_spectrogram_transformer
    else:
        whole = Wav2Vec2BertForCTC(Wav2Vec2BertConfig(**fields, vocab_size=20, add_adapter=True))
        SeamlessM4TFeatureExtractor(feature_size=20, num_mel_bins=20, padding_value=1).save_pretrained(folder)
        encoder = whole.wav2vec2_bert
    whole.save_pretrained(folder)
    return encoder


@pytest.mark.parametrize("name", ["whisper", "wav2vec2-bert", "ast"])
def test_the_published_layout_loads_with_its_features(name, text_folder, tmp_path):
    encoder = publish(name, tmp_path / "published")
    recipe = {"speech": {"pretrained": str(tmp_path / "published")}, "text": {"pretrained": str(text_folder)}}
    model, processor = build_model(ModelRecipe.model_validate(recipe))
    theirs = encoder.state_dict()
    assert all(torch.equal(weight, theirs[key]) for key, weight in model.audio_model.state_dict().items())
    settings = processor.feature_extractor.stock
    if name == "ast":
        assert (settings["mean"], settings["std"]) == (-3.0, 2.0)
    if name == "whisper":
        assert settings["dither"] == 0.0, "the same clip gives the same numbers"
    export(model, processor, tmp_path / "export", card="")
    saved = load_file(tmp_path / "export" / "model.safetensors")
    assert not [key for key in saved if "decoder" in key or "classifier" in key or "adapter" in key or "head" in key]
    assert torch.equal(
        embed(*load_model_folder(tmp_path / "export"), clips()), embed(model.eval(), processor, clips())
    )


def test_whisper_loads_from_every_form_it_is_saved_in(tmp_path):
    torch.manual_seed(2)
    whole = WhisperModel(WhisperConfig(**{key: value for key, value in WHISPER.items() if key != "model_type"}))
    whole.save_pretrained(tmp_path / "bare")
    tower = load_tower(str(tmp_path / "bare"))
    expected = whole.encoder.state_dict()
    assert all(torch.equal(weight, expected[key]) for key, weight in tower.state_dict().items())
    whole.encoder.save_pretrained(tmp_path / "encoder")
    tower.save_pretrained(tmp_path / "tower")
    for folder in ("encoder", "tower"):
        again = load_tower(str(tmp_path / folder)).state_dict()
        assert all(torch.equal(weight, expected[key]) for key, weight in again.items())


def test_weights_of_another_model_are_refused(tmp_path, text_folder):
    """Loading them would leave the encoder at random, with a warning at most."""
    encoder = publish("whisper", tmp_path)
    encoder.save_pretrained(
        tmp_path, state_dict={f"other.{key}": value for key, value in encoder.state_dict().items()}
    )
    with pytest.raises(ModelFolderError, match=r"the weights of .* lack 'conv1\.bias'"):
        build({"pretrained": str(tmp_path)}, text_folder)


def test_the_stock_features_are_those_of_the_library(text_folder):
    _, processor = build({"config": WHISPER}, text_folder)
    stock = WhisperFeatureExtractor(feature_size=20, chunk_length=2)
    expected = stock(clips()[:2], sampling_rate=RATE, return_tensors="pt")["input_features"]
    ours = processor(audio=clips()[:2], sampling_rate=RATE)
    torch.testing.assert_close(ours["input_features"].transpose(1, 2), expected)
    assert ours["audio_attention_mask"].sum(1).tolist() == [100, 44]
    many = processor(audio=clips() * 4, sampling_rate=RATE)
    assert torch.equal(many["input_features"][-5:-3], ours["input_features"]) and len(many["input_features"]) == 20
    as_arrays = processor(audio=clips()[:2], sampling_rate=RATE, return_tensors="np")
    assert as_arrays["input_features"].shape == (2, 200, 20)


@pytest.mark.parametrize(("name", "longest"), [("whisper", 2.0), ("ast", (400 + 256 * 160 - 1) / RATE)])
def test_a_clip_that_the_window_cannot_hold_is_refused(name, longest, text_folder):
    model, processor = build({"config": SPEECH[name]}, text_folder)
    assert processor.feature_extractor.longest_seconds == longest
    fits = np.ones(int(longest * RATE), np.float32)
    embed(model, processor, fits)
    with pytest.raises(ValueError, match=rf"clip 1 is {longest + 0.1:.2f} s long, but .* at most {longest:.2f} s"):
        processor(audio=[fits, np.ones(int((longest + 0.1) * RATE), np.float32)], sampling_rate=RATE)


def test_length_is_checked_before_training(corpora, text_folder, tmp_path):
    """Clips of 0.3 to 0.7 s, a window of 0.5: crops must fit, and so must clips that are read whole."""
    _, processor = build({"config": {**AST, "max_length": 48}}, text_folder)
    features = processor.feature_extractor
    everything = read_split(corpora["small"], "train", RaClapFeatureExtractor())
    longer = int((everything.seconds > features.longest_seconds).sum())
    assert 0 < longer < len(everything.manifest)
    with pytest.raises(RecipeError, match=r"data\.crop_seconds: 0\.6, but the speech tower reads at most 0\.50 s"):
        read_split(corpora["small"], "train", features, crop_seconds=0.6)
    assert len(read_split(corpora["small"], "train", features, crop_seconds=0.5).manifest) == 18
    with pytest.raises(AudioError, match=rf"row small-train-\d+: 0\.\d\d s, .*and {longer - 1} more.*--skip-bad"):
        read_split(corpora["small"], "train", features)
    for keep in (False, True):
        left = read_split(corpora["small"], "train", features, skip_bad=True, keep=keep)
        assert len(left.skipped) == longer and len(left.manifest) == len(left.seconds) == 18 - longer
        assert max(len(left.waveform(row)) for row in range(len(left.manifest))) <= features.longest_seconds * RATE


@pytest.mark.parametrize("name", ["whisper", "wav2vec2-bert"])
def test_micro_batches_change_nothing(name, text_folder):
    model, processor = build({"config": SPEECH[name]}, text_folder)
    batch = dict(processor(text=CAPTIONS, audio=clips()[:4], sampling_rate=RATE))
    with torch.no_grad():
        whole, parts = embed_pairs(model, batch), embed_pairs(model, batch, 2, 2)
    torch.testing.assert_close(parts.audio, whole.audio, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("speech", "features", "message"),
    [
        ({**WHISPER, "max_source_positions": 60}, {}, "max_source_positions 60 is no multiple of 50"),
        ({**W2V_BERT, "feature_projection_input_dim": 41}, {}, "feature_projection_input_dim 41 is odd"),
        ({**W2V_BERT, "add_adapter": True}, {}, r"model\.speech\.config\.add_adapter: .* leave the adapter out"),
        (WHISPER, {"normalize": "utterance"}, r"model\.features\.normalize: WhisperFeatureExtractor does not read it"),
        (WHISPER, {"features": "waveform"}, r"model\.features: features 'stock' and the settings in 'stock' belong"),
        (WHISPER, {"stock": "Whisper"}, r"model\.features\.stock: settings of .* by name, not 'Whisper'"),
        (WHISPER, {"stock": {"hop": 3}}, r"model\.features\.stock\.hop: unknown key"),
        (WHISPER, {"stock": {"chunk_length": 30}}, r"stock\.chunk_length: 30, but the speech tower asks for 2"),
        (AST, {"stock": {"max_length": 100}}, r"stock\.max_length: 100, but the speech tower asks for 256"),
        ({"model_type": "raclap_ecapa_tdnn"}, {"stock": {}}, "features 'stock' and the settings in 'stock' belong"),
    ],
)
def test_what_does_not_fit_is_named(speech, features, message, text_folder):
    with pytest.raises(RecipeError, match=message):
        build({"config": speech}, text_folder, features=features)


def test_settings_of_the_stock_extractor_can_be_set(text_folder, tmp_path):
    features = {"stock": {"mean": -1.0}, "trim_silence_db": 40}
    model, processor = build({"config": AST}, text_folder, features=features)
    assert processor.feature_extractor.stock["mean"] == -1.0
    assert processor.feature_extractor.trim_silence_db == 40
    export(model, processor, tmp_path / "export", card="")
    start = {"init_from": str(tmp_path / "export")}
    build_model(ModelRecipe.model_validate({**start, "features": features}))
    with pytest.raises(RecipeError, match=r"model\.features\.stock: the recipe says .*-2\.0.* has .*-1\.0"):
        build_model(ModelRecipe.model_validate({**start, "features": {"stock": {"mean": -2.0}}}))


def test_pooling_that_an_encoder_does_not_have_is_refused(text_folder):
    with pytest.raises(RecipeError, match="audio_pooling 'pooler': a whisper encoder gives no embedding"):
        build({"config": WHISPER}, text_folder, audio_pooling="pooler")
    with pytest.raises(RecipeError, match="raclap_ecapa_tdnn pools by itself"):
        build({"config": {"model_type": "raclap_ecapa_tdnn"}}, text_folder, audio_pooling="layer_weighted_mean")


def test_layer_drop_is_switched_off_under_each_of_its_names():
    for fields, name in ((WHISPER, "encoder_layerdrop"), (W2V_BERT, "layerdrop")):
        config = RaClapConfig(audio_config={**fields, name: 0.3}, text_config=tiny_bert_config())
        assert getattr(config.audio_config, name) == 0.0


@pytest.mark.parametrize(
    ("name", "layers"), [("whisper", "layers"), ("wav2vec2-bert", "encoder.layers"), ("ast", "layers")]
)
def test_first_layers_can_be_kept(name, layers, text_folder):
    model, _ = build({"config": SPEECH[name], "freeze_layers": 1}, text_folder)
    trained = {n for n, p in model.audio_model.named_parameters() if p.requires_grad}
    assert trained and all(n.startswith(f"{layers}.1.") for n in trained)
    with pytest.raises(RecipeError, match=r"model\.speech\.freeze_layers: 3, but .* has 2 layers"):
        build({"config": SPEECH[name], "freeze_layers": 3}, text_folder)


ECAPA = {"config": {"model_type": "raclap_ecapa_tdnn", "channels": 16, "mfa_channels": 24, "hidden_size": 8}}


@pytest.mark.parametrize("pooling", ["mean", "cls", "layer_weighted_mean"])
@pytest.mark.parametrize("name", TEXT)
def test_a_caption_alone_equals_the_caption_in_a_padded_batch(name, pooling, tmp_path):
    model, processor = build(ECAPA, save_text(tmp_path, TEXT[name]), text_pooling=pooling)
    assert "token_type_ids" in processor(text=CAPTIONS)
    model.eval()
    with torch.no_grad():
        batch = model.get_text_features(**processor(text=CAPTIONS)).pooler_output
        alone = torch.cat([model.get_text_features(**processor(text=caption)).pooler_output for caption in CAPTIONS])
    assert (batch - alone).abs().max() < 1e-5
    if pooling != "cls":
        assert (batch[0] - batch[1]).abs().max() > 1e-4


@pytest.mark.parametrize("name", TEXT)
def test_text_towers_train_and_export(name, tmp_path):
    model, processor = build(ECAPA, save_text(tmp_path / "text", TEXT[name]))
    inputs = processor(text=CAPTIONS, audio=clips()[:4], sampling_rate=RATE)
    model.train()(**inputs, return_loss=True).loss.backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    export(model, processor, tmp_path / "export", card="")
    loaded, its_processor = load_model_folder(tmp_path / "export")
    with torch.no_grad():
        expected = model.eval().get_text_features(**processor(text=CAPTIONS)).pooler_output
        assert torch.equal(loaded.get_text_features(**its_processor(text=CAPTIONS)).pooler_output, expected)


@pytest.mark.parametrize("name", TEXT)
def test_a_long_caption_is_cut_to_what_the_tower_reads(name, tmp_path):
    """The tokenizer knows no limit of its own."""
    model, processor = build(ECAPA, save_text(tmp_path, TEXT[name]))
    inputs = processor(text="loud " * 500)
    assert inputs["input_ids"].shape == (1, 32)
    with torch.no_grad():
        assert model.get_text_features(**inputs).pooler_output.isfinite().all()


def test_a_file_is_heard_by_each_family(tmp_path, text_folder):
    """From a stereo file at another rate to an embedding, by what an export remembers."""
    rng = np.random.default_rng(0)
    stereo = np.stack([tone(200.0, 0.3, 1.0, rng), tone(210.0, 0.3, 1.0, rng)], axis=1)
    soundfile.write(tmp_path / "clip.wav", stereo, 2 * RATE)
    for name in ("whisper", "wav2vec2-bert", "ast"):
        model, processor = build({"config": SPEECH[name]}, text_folder)
        with torch.no_grad():
            embeds = model.get_audio_features(**processor(audio=tmp_path / "clip.wav")).pooler_output
        assert embeds.norm(dim=-1).item() == pytest.approx(1, abs=1e-5)
