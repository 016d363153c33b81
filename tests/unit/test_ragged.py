"""Flat waveforms: padded on the device they are what the feature extractor makes, in whatever parts."""

import numpy as np
import pytest
import torch
from test_modeling import speech_config

from conftest import make_tokenizer, tiny_bert_config, tone
from modeling_raclap import RaClapConfig, RaClapFeatureExtractor, RaClapModel, RaClapProcessor
from modeling_raclap.recording_raclap import as_float
from raclap.data.cache import as_int16
from raclap.data.dataset import Example, PairCollator
from raclap.data.notes import NOTE
from raclap.data.ragged import LENGTHS, SAMPLES, flatten, is_flat, pad_clips, padded
from raclap.recipe import TeacherRecipe, TrainingRecipe
from raclap.training.objectives import embed_pairs
from raclap.training.teacher import BatchTeacher

SECONDS = (0.7, 0.02, 1.3, 0.4, 0.1, 2.0)


def clips(kind: str) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    found = [tone(rng.uniform(100, 300), rng.uniform(0.01, 0.6), seconds, rng) for seconds in SECONDS]
    if kind == "float32":
        return found
    return [as_int16(clip) if kind == "int16" or index % 2 else clip for index, clip in enumerate(found)]


@pytest.mark.parametrize("normalize", ["none", "utterance"])
@pytest.mark.parametrize("kind", ["float32", "int16", "mixed"])
def test_padded_clips_are_those_of_the_feature_extractor(kind, normalize):
    extractor = RaClapFeatureExtractor(normalize=normalize)
    waveforms = clips(kind)
    batch = flatten(waveforms, extractor.shortest_samples, normalize)
    assert batch[SAMPLES].dtype == (torch.int16 if kind == "int16" else torch.float32)
    assert len(batch[SAMPLES]) == batch[LENGTHS].sum()
    expected = extractor([as_float(clip) for clip in waveforms], prepared=True)
    found = padded({"input_ids": torch.ones(6, 3), **batch})
    assert set(found) == {"input_ids", "input_values", "audio_attention_mask"}
    assert torch.equal(found["audio_attention_mask"].long(), expected["audio_attention_mask"])
    torch.testing.assert_close(found["input_values"], expected["input_values"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("normalize", ["none", "utterance"])
def test_a_part_is_padded_to_its_own_longest(normalize):
    extractor = RaClapFeatureExtractor(normalize=normalize)
    waveforms = clips("int16")
    batch = flatten(waveforms, extractor.shortest_samples, normalize)
    parts = [[4, 1], [5], [0, 3, 2]]
    for part, found in zip(parts, pad_clips(batch, parts), strict=True):
        expected = extractor([as_float(waveforms[number]) for number in part], prepared=True)
        assert torch.equal(found["audio_attention_mask"].long(), expected["audio_attention_mask"])
        torch.testing.assert_close(found["input_values"], expected["input_values"], rtol=0, atol=1e-6)


def examples(kind: str) -> list[Example]:
    captions = ("a low voice", "loud", "it is a high pitched voice", "a quiet tone", "the person", "in the")
    pairs = zip(clips(kind), captions, strict=True)
    return [Example(clip, caption, number) for number, (clip, caption) in enumerate(pairs)]


@pytest.fixture(scope="module")
def model() -> RaClapModel:
    torch.manual_seed(0)
    speech = speech_config(norm="group", stable=False)
    return RaClapModel(RaClapConfig(audio_config=speech, text_config=tiny_bert_config(), projection_dim=16)).eval()


@pytest.mark.parametrize("parts", [(1, 1), (1, 2), (3, 1), (3, 2)])
def test_a_flat_batch_is_embedded_as_a_padded_one(model, parts):
    processor = RaClapProcessor(RaClapFeatureExtractor(normalize="utterance"), make_tokenizer())
    flat, whole = (PairCollator(processor, flat=flat)(examples("int16")) for flat in (True, False))
    assert is_flat(flat) and not is_flat(whole) and "input_values" not in flat
    with torch.no_grad():
        found, expected = embed_pairs(model, flat, *parts), embed_pairs(model, whole)
    torch.testing.assert_close(found.audio, expected.audio, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.text, expected.text, rtol=0, atol=1e-5)


@pytest.mark.parametrize("features", ["waveform", "log_mel"])
def test_a_teacher_hears_the_clean_clip(model, features, monkeypatch):
    """What was changed for the student is kept beside it, in whatever form the batch has."""
    processor = RaClapProcessor(RaClapFeatureExtractor(features=features), make_tokenizer())
    clean = examples("int16")
    changed = [
        Example(as_float(one.waveform) * 0.5, one.caption, one.number, clean=one.waveform) if index % 2 else one
        for index, one in enumerate(clean)
    ]
    collate = PairCollator(processor, keep_unmasked=True, flat=features == "waveform")
    batch, expected = collate(changed), collate(clean)
    name = SAMPLES if features == "waveform" else "input_features"
    assert NOTE + name not in expected, "nothing was changed"
    inputs = {key: value for key, value in batch.items() if not key.startswith(NOTE)}
    seen = padded({**inputs, name: batch[NOTE + name]})
    for key, value in padded(expected).items():
        torch.testing.assert_close(seen[key], value, rtol=0, atol=1e-6)
    assert not torch.equal(batch[name].float(), expected[name].float())
    if features == "waveform":
        notes = {name: batch[NOTE + name]}
        teaches = BatchTeacher([model], TeacherRecipe(folders=("a",), temperature=0.1), TrainingRecipe())
        rows = slice(0, len(clean))
        found = [teaches(*given).logits(rows, rows) for given in ((inputs, notes), (expected, {}))]
        torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)
