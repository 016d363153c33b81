"""Examples of a card: real clips that may be handed on, as unlike as can be, and what the model says of them."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from conftest import RATE, tone
from modeling_raclap.calibration_raclap import Calibration
from raclap.data.manifest import Caption, Manifest, Pair, read_manifest, write_manifest
from raclap.hub.examples import (
    LONGEST_SECONDS,
    clips_of_corpora,
    clips_of_files,
    describe,
    make_examples,
    write_examples,
)
from raclap.model_folder import load_model_folder


@pytest.fixture
def licensed(corpora, tmp_path):
    """The validation rows of a corpus under one licence."""

    def make(name: str, licence: str | None, **changes: object) -> Manifest:
        rows = read_manifest(corpora[name])
        path = tmp_path / f"{name}.parquet"
        write_manifest(path, [replace(pair, licence=licence, **changes) for pair in rows], rows.audio_root)
        return read_manifest(path).split("validation")

    return make


def pair(**attributes: str) -> Pair:
    return Pair("1", "1.wav", (Caption("a long story", ()),), "c", "test", attributes=attributes)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"sex": "female", "emotion": "angry", "pitch": "low", "speed": "normal"}, "an angry woman, low pitch"),
        ({"sex": "male", "age": "child", "speed": "fast"}, "a boy, fast speech"),
        ({"age": "child"}, "a child"),
        ({"age": "old", "sex": "male", "volume": "loud"}, "an old man, loud volume"),
        ({"emotion": "neutral", "accent": "scottish"}, "a voice, scottish accent"),
        ({}, "a long story"),
    ],
)
def test_descriptions_say_what_differs_from_most_voices(attributes, words):
    assert describe(pair(**attributes)) == words


def test_long_captions_are_no_labels():
    assert describe(replace(pair(), captions=(Caption("so " * 40),))) == ""


@pytest.mark.parametrize("licence", ["CC BY-NC-ND 4.0", "IEMOCAP: for research only", "ask my aunt", None])
def test_clips_that_must_not_be_handed_on_are_never_shown(licensed, licence):
    clips, labels = clips_of_corpora([licensed("small", licence)], RATE, 3)
    assert clips == [] and len(labels) == 5
    clips, _ = clips_of_corpora([licensed("small", licence), licensed("medium", "CC BY-NC-SA 4.0")], RATE, 3)
    assert {clip.source for clip in clips} == {"medium (CC BY-NC-SA 4.0)"}


def test_clips_differ_in_style_and_come_from_all_corpora(licensed):
    corpora = [licensed("small", "CC0-1.0"), licensed("medium", "CC0-1.0")]
    clips, labels = clips_of_corpora(corpora, RATE, 4)
    assert [clip.source.split()[0] for clip in clips] == ["small", "medium", "small", "medium"]
    assert len({clip.title for clip in clips}) == 4 and labels[:4] == [clip.title for clip in clips]
    assert len(labels) == len(set(labels)) == 5
    # Six styles there are: twelve clips asked for are six.
    assert len(clips_of_corpora(corpora, RATE, 12)[0]) == 6
    assert [clip.title for clip in clips_of_corpora(corpora, RATE, 4)[0]] == [clip.title for clip in clips]


def test_files_are_cut_and_brought_to_the_rate_of_the_model(tmp_path, teacher_folder):
    samples = tone(220, 0.5, 12.0, np.random.default_rng(0))
    soundfile.write(tmp_path / "my_long clip.wav", np.stack([samples, samples], 1), 2 * RATE)
    soundfile.write(tmp_path / "short.wav", samples[:8000], RATE)
    (long, short) = clips = clips_of_files(sorted(tmp_path.iterdir()), RATE, 5)
    assert (long.title, long.source) == ("my long clip", "my_long clip.wav") and long.rate == RATE
    assert len(long.waveform) == 6 * RATE and len(short.waveform) == 8000
    soundfile.write(tmp_path / "longer.wav", np.tile(samples, 2), RATE)
    assert len(clips_of_files([tmp_path / "longer.wav"], RATE, 1)[0].waveform) == LONGEST_SECONDS * RATE
    examples = make_examples(*load_model_folder(teacher_folder), clips, ["a low voice"])
    write_examples(examples, tmp_path)
    written, rate = soundfile.read(tmp_path / "examples" / "2.flac")
    info = soundfile.info(tmp_path / "examples" / "2.flac")
    assert (info.format, info.channels, rate) == ("FLAC", 1, RATE)
    assert np.abs(written - short.waveform).max() < 1e-4


@pytest.mark.parametrize("calibrated", [False, True])
def test_scores_are_those_of_the_model(licensed, teacher_folder, calibrated):
    model, processor = load_model_folder(teacher_folder)
    model.config.calibration = Calibration(8.0, -1.0, (-1.0, 1.0)).to_dict() if calibrated else None
    clips, labels = clips_of_corpora([licensed("small", "CC0-1.0")], RATE, 2)
    examples = make_examples(model, processor, clips, labels)
    for clip, example in zip(clips, examples, strict=True):
        with torch.inference_mode():
            audio = model.get_audio_features(**processor(audio=clip.waveform, sampling_rate=RATE)).pooler_output
            text = model.get_text_features(**processor(text=labels)).pooler_output
        cosines = (audio @ text.T)[0]
        expected = torch.sigmoid(8 * cosines - 1) if calibrated else (model.logit_scale * cosines).softmax(0)
        assert dict(example.scores) == pytest.approx(dict(zip(labels, expected.tolist(), strict=True)), abs=1e-4)
        scores = [score for _, score in example.scores]
        assert scores == sorted(scores, reverse=True) and example.calibrated == calibrated
    assert make_examples(model, processor, [], labels) == ()
    assert len(make_examples(model, processor, clips, [])[0].scores) == 5
