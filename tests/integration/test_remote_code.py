"""An exported folder in a fresh process that cannot import this repository."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import BertModel, WavLMConfig

from conftest import RATE, make_tokenizer, tiny_bert_config, tone
from encoder_families import WHISPER
from fresh_process import run_elsewhere
from modeling_raclap import (
    EcapaTdnnConfig,
    RaClapConfig,
    RaClapFeatureExtractor,
    RaClapModel,
    RaClapProcessor,
    ResNet34Config,
)
from modeling_raclap.modeling_raclap import build_tower
from raclap.errors import ModelFolderError
from raclap.hub.export import export
from raclap.model_folder import load_model_folder

PROBE = """
from transformers import AutoConfig, AutoModel, AutoProcessor, pipeline
folder, clip = sys.argv[1:]
config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
model = AutoModel.from_pretrained(folder, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
inputs = processor(text=["a low voice", "a loud voice"], audio=clip)
output = model(**inputs)
import soundfile
samples, rate = soundfile.read(clip, dtype="float32")
classify = pipeline("zero-shot-audio-classification", model=model, tokenizer=processor.tokenizer,
                    feature_extractor=processor.feature_extractor)
scores = classify(samples, candidate_labels=["low", "loud"],
                  hypothesis_template="a {} voice")
print(json.dumps({"type": config.model_type, "logits": output.logits_per_audio.tolist(),
                  "tower": type(model.audio_model).__name__,
                  "probabilities": model.match_probability(output.audio_embeds, output.text_embeds).tolist(),
                  "labels": sorted(s["label"] for s in scores), "total": sum(s["score"] for s in scores)}))
"""


SPEECH = {
    "ecapa-tdnn": EcapaTdnnConfig(channels=32, mfa_channels=48, hidden_size=24),
    "resnet-34": ResNet34Config(channels=4, block_counts=(1, 1, 1, 1), hidden_size=24),
    "wavlm": WavLMConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, conv_dim=(32, 32, 32),
        conv_stride=(5, 4, 4), conv_kernel=(10, 4, 4), num_feat_extract_layers=3, num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    ),
    "whisper": RaClapConfig(audio_config=WHISPER).audio_config,
}  # fmt: skip
EXTRACTORS = {
    "wavlm": {"features": "waveform"},
    "whisper": {
        "features": "stock",
        "stock": {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 20, "chunk_length": 2},
    },
}


def build(speech: str) -> tuple[RaClapModel, RaClapProcessor]:
    torch.manual_seed(0)
    text = BertModel(tiny_bert_config())
    model = RaClapModel.from_speech_text_pretrained(build_tower(SPEECH[speech]), text, projection_dim=32)
    model.config.calibration = {"slope": 4.0, "intercept": -1.0, "quantiles": [-1.0, 1.0]}
    extractor = RaClapFeatureExtractor(**EXTRACTORS.get(speech, {"features": "log_mel"}))
    return model, RaClapProcessor(extractor, make_tokenizer())


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> tuple[Path, RaClapModel, RaClapProcessor]:
    model, processor = build("ecapa-tdnn")
    folder = tmp_path_factory.mktemp("export") / "model"
    export(model, processor, folder, "a card")
    return folder, model, processor


@pytest.mark.parametrize("speech", SPEECH)
def test_auto_classes_and_pipeline_in_a_fresh_process(speech, tmp_path):
    model, processor = build(speech)
    folder = tmp_path / "model"
    export(model, processor, folder, "a card")
    clip = tmp_path / "clip.wav"
    soundfile.write(clip, tone(200, 0.3, 0.6, np.random.default_rng(0)), RATE)
    found = run_elsewhere(PROBE, tmp_path, folder, clip)
    with torch.no_grad():
        expected = model(**processor(text=["a low voice", "a loud voice"], audio=clip)).logits_per_audio
    torch.testing.assert_close(torch.tensor(found["logits"]), expected, rtol=1e-4, atol=1e-4)
    probabilities = torch.sigmoid(4 * expected / model.logit_scale - 1)
    torch.testing.assert_close(torch.tensor(found["probabilities"]), probabilities, rtol=1e-4, atol=1e-4)
    assert found["type"] == "raclap" and found["tower"] == type(model.audio_model).__name__
    assert found["labels"] == ["loud", "low"] and found["total"] == pytest.approx(1)


def test_nothing_in_the_folder_is_pickled(exported):
    names = {path.suffix for path in exported[0].iterdir()}
    assert names == {".py", ".json", ".safetensors", ".md", ".txt"}


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("model.safetensors", "holds no model.safetensors"),
        ("config.json", "holds no config.json"),
        ("processor_config.json", "holds no processor_config.json"),
    ],
)
def test_an_incomplete_folder_is_named(exported, tmp_path, remove, message):
    _, model, processor = exported
    export(model, processor, tmp_path / "model", "a card")
    (tmp_path / "model" / remove).unlink()
    with pytest.raises(ModelFolderError, match=message):
        load_model_folder(tmp_path / "model")
    with pytest.raises(ModelFolderError, match="no such model folder"):
        load_model_folder(tmp_path / "elsewhere")


def test_export_replaces_a_folder_whole(exported, tmp_path):
    _, model, processor = exported
    target = tmp_path / "model"
    target.mkdir()
    (target / "leftover.txt").write_text("old")
    export(model, processor, target, "a card")
    assert not (target / "leftover.txt").exists() and (target / "config.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
