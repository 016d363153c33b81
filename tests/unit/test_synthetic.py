"""The synthetic corpora: plans keep splits apart and tell the truth; clips sound as their rows say."""

import dataclasses
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from raclap.corpora import synthetic
from raclap.corpora.espeak import SAMPLE_RATE, Synthesiser
from raclap.corpora.prosody import PITCH, SPEED, VOLUME, deliver
from raclap.corpora.synthetic import SPECS, build, default_cache, plan, speak
from raclap.corpora.synthetic_captions import ATTRIBUTES, TEMPLATES
from raclap.corpora.synthetic_sentences import sentences
from raclap.corpora.synthetic_words import WORDS
from raclap.data.manifest import SPLITS, read_manifest
from raclap.errors import RaClapError

SCALE = 0.1
TINY = 0.01


@pytest.fixture(scope="module")
def plans():
    return {name: plan(name, SCALE) for name in SPECS}


@pytest.fixture(scope="module")
def whole_plans():
    return {name: plan(name) for name in SPECS}


@pytest.fixture
def needs_espeak():
    pytest.importorskip("espeakng_loader", reason="espeak-ng is not installed: pip install 'raclap[demo]'")


def rows(plans):
    return [utterance.pair for utterances in plans.values() for utterance in utterances]


def test_plan_is_a_function_of_its_arguments(plans):
    for name, utterances in plans.items():
        assert plan(name, SCALE) == utterances
        assert plan(name, SCALE, seed=1) != utterances


def test_plan_is_the_same_in_another_process():
    program = (
        "import hashlib; from raclap.corpora.synthetic import plan\n"
        "print(hashlib.sha256(repr(plan('craft_like', 0.02)).encode()).hexdigest())"
    )
    answers = [
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": hash_seed},
            cwd=Path(__file__).parents[2],
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert answers[0] == answers[1]


def test_splits_have_the_sizes_of_the_specification(whole_plans):
    for name, spec in SPECS.items():
        assert Counter(u.pair.split for u in whole_plans[name]) == spec.clips


@pytest.mark.parametrize("column", ["speaker", "transcript"])
def test_no_split_shares_voice_or_sentence_with_another(plans, column):
    found = {split: {getattr(p, column) for p in rows(plans) if p.split == split} for split in SPLITS}
    assert all(found[a].isdisjoint(found[b]) for a in SPLITS for b in SPLITS if a != b)


def test_no_corpus_shares_a_voice_with_another_and_sexes_are_balanced(whole_plans):
    voices = {name: {u.speaker for u in whole_plans[name]} for name in SPECS}
    for name, own in voices.items():
        assert all(own.isdisjoint(other) for rest, other in voices.items() if rest != name)
        bodies = {dataclasses.replace(speaker, name="") for speaker in own}
        assert len(bodies) == len(own)
        assert len([s for s in own if s.sex == "male"]) * 2 == len(own)


def test_every_split_has_its_own_templates_and_sentences():
    for splits in TEMPLATES.values():
        together = [template for split in SPLITS for template in splits[split]]
        assert len(set(together)) == len(together)
        assert len(splits["train"]) >= 25
        assert min(len(splits["validation"]), len(splits["test"])) >= 8
    pools = [set(sentences(split)) for split in SPLITS]
    assert len(set.union(*pools)) == sum(map(len, pools)) > 10_000


def test_captions_name_only_what_the_row_has(plans):
    for pair in rows(plans):
        for caption in pair.captions:
            assert len(set(caption.names)) == len(caption.names) >= SPECS[pair.corpus].least_named
            assert set(caption.names) <= set(pair.attributes)
            if pair.corpus == "prompt_like":
                assert set(caption.names) == {"sex", "pitch", "speed", "volume"}


def test_captions_say_what_they_name_and_nothing_else(plans):
    """A caption has a word for each value it names beside sex and age, and tells no sex it does not name."""
    sexed = {
        "female": {"woman", "lady", "girl", "schoolgirl", "female", "she", "her"},
        "male": {"man", "gentleman", "boy", "schoolboy", "male", "he", "his"},
    }
    for pair in rows(plans):
        for caption in pair.captions:
            said = caption.text.replace(f'"{pair.transcript.removesuffix(".")}"', "")
            tokens = set(re.findall(r"[a-z]+", said.lower()))
            told = {sex for sex, words in sexed.items() if tokens & words}
            assert told == ({pair.sex} if "sex" in caption.names else set())
            for name in set(caption.names) - {"sex", "age"}:
                words = [word for kind in WORDS.values() for word in kind.get(name, {}).get(pair.attributes[name], ())]
                assert any(word in said for word in words), (name, caption.text)


def test_captions_are_sentences(plans):
    for pair in rows(plans):
        for caption in pair.captions:
            assert re.fullmatch(r'["A-Z].*\.', caption.text)
            assert not re.search(r"\b[Aa] [aeio]|\b[Aa]n [^aeiou]|  |[{}]|\b(\w+) \1\b|,,", caption.text), caption.text
            assert pair.corpus != "craft_like" or pair.transcript.removesuffix(".") in caption.text


def test_words_of_two_values_never_coincide():
    for kind in WORDS.values():
        for values in kind.values():
            words = [word for choices in values.values() for word in choices]
            assert len(set(words)) == len(words)


def test_prompt_like_has_every_style_equally_often(whole_plans):
    for split in SPLITS:
        counts = Counter(u.pair.style_key for u in whole_plans["prompt_like"] if u.pair.split == split)
        assert len(counts) == 54
        assert max(counts.values()) - min(counts.values()) <= 1


def test_emotions_ages_textures_are_balanced(whole_plans):
    for name, columns in (("textrol_like", ["emotion"]), ("craft_like", ["emotion", "age", "texture"])):
        train = [u.pair.attributes for u in whole_plans[name] if u.pair.split == "train"]
        for column in columns:
            counts = Counter(attributes[column] for attributes in train)
            assert max(counts.values()) < 1.15 * min(counts.values())


def test_style_key_holds_all_attributes(plans):
    for pair in rows(plans):
        assert dict(part.split("=") for part in pair.style_key.split("|")) == pair.attributes
        assert ("pitch" in pair.attributes) == (pair.attributes.get("texture") != "whispered")


def test_valence_and_arousal_follow_the_emotion(plans):
    clips = [u.pair for u in plans["textrol_like"]]
    happy, sad = ([p for p in clips if p.emotion == emotion] for emotion in ("happy", "sad"))
    assert min(p.valence for p in happy) > 0 > max(p.valence for p in sad)
    assert all(-1 <= p.valence <= 1 and -1 <= p.arousal <= 1 for p in clips)
    assert len({p.arousal for p in happy}) > len(happy) // 2


def test_levels_describe_the_final_parameters():
    rng = random.Random(0)
    for _ in range(300):
        drawn = deliver(rng, pitch="normal", speed="normal", volume="normal", emotion="angry")
        for zones, level, value in (
            (PITCH, drawn.pitch, drawn.semitones),
            (SPEED, drawn.speed, drawn.rate),
            (VOLUME, drawn.volume, drawn.level),
        ):
            assert zones[level][0] <= value <= zones[level][1]


def test_unknown_names_and_scales_are_refused():
    with pytest.raises(RaClapError, match="'prompts'"):
        plan("prompts")
    with pytest.raises(RaClapError, match="above 0"):
        plan("prompt_like", scale=0)


def test_default_cache_can_be_moved(monkeypatch, tmp_path):
    monkeypatch.setenv("RACLAP_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
    monkeypatch.delenv("RACLAP_CACHE")
    assert default_cache().parts[-3:] == (".cache", "raclap", "corpora")


def spoken(utterance, **changes):
    delivery = dataclasses.replace(utterance.delivery, **changes)
    with Synthesiser() as synthesiser:
        samples = speak(dataclasses.replace(utterance, delivery=delivery), synthesiser)
    return samples[SAMPLE_RATE // 10 : -SAMPLE_RATE // 10].astype(float)


@pytest.mark.usefixtures("needs_espeak")
class TestSound:
    """What a row says is what is measured."""

    @pytest.fixture(scope="class")
    @staticmethod
    def voices(plans):
        """One modal clip of each voice of the tests."""
        clips = [u for u in plans["prompt_like"] + plans["textrol_like"] if u.pair.split == "test"]
        return list({u.speaker: u for u in clips}.values())

    def test_pitch(self, voices):
        from test_espeak import fundamental

        for utterance in voices:
            low, normal, high = (
                fundamental(spoken(utterance, semitones=s, emotion="neutral", valence=0, arousal=0))
                for s in (-5, 0, 5)
            )
            assert low * 1.15 < normal < high / 1.15
            assert normal == pytest.approx(utterance.speaker.f0, rel=0.15)

    def test_speed(self, voices):
        for utterance in voices[:4]:
            slow, normal, fast = (len(spoken(utterance, rate=rate)) for rate in (120, 175, 255))
            assert slow > 1.2 * normal > 1.2 * 1.2 * fast

    def test_volume(self, plans):
        for utterance in plans["craft_like"][::20]:
            samples = spoken(utterance)
            decibel = 10 * np.log10((samples**2).mean() / 2**30)
            assert decibel == pytest.approx(utterance.delivery.level, abs=2.9)
            zone = VOLUME[utterance.pair.attributes["volume"]]
            assert zone[0] - 2.9 < decibel < zone[1] + 0.1
            assert np.abs(samples).max() <= 32_000

    def test_arousal_brightens_and_valence_raises_the_formants(self, voices):
        def centroid(samples):
            power = np.abs(np.fft.rfft(samples)) ** 2
            hertz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
            band = (hertz > 300) & (hertz < 5000)
            return (power * hertz)[band].sum() / power[band].sum()

        for utterance in voices[:4]:
            for name in ("arousal", "valence"):
                rising = [centroid(spoken(utterance, **{name: value})) for value in (-0.8, 0, 0.8)]
                assert rising[0] < rising[-1], name


def sounds(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*.flac"))}


@pytest.mark.usefixtures("needs_espeak")
class TestBuild:
    """Builds are whole, repeatable and made once."""

    def test_manifests_and_clips_agree(self, tmp_path):
        import soundfile

        for name, path in build(tmp_path, scale=TINY, jobs=1).items():
            manifest = read_manifest(path)
            assert [manifest[i] for i in range(len(manifest))] == [u.pair for u in plan(name, TINY)]
            for pair in manifest:
                about = soundfile.info(manifest.audio_path(pair))
                assert (about.samplerate, about.channels, about.subtype) == (SAMPLE_RATE, 1, "PCM_16")
                assert 1 < about.duration < 8

    def test_processes_and_order_change_nothing(self, tmp_path):
        build(tmp_path / "one", ["craft_like"], scale=TINY, jobs=1)
        build(tmp_path / "two", ["craft_like"], scale=TINY, jobs=2)
        assert sounds(tmp_path / "one") == sounds(tmp_path / "two")
        last = plan("craft_like", TINY)[-1]
        with Synthesiser() as synthesiser:
            alone = speak(last, synthesiser)
        import soundfile

        stored, _ = soundfile.read(tmp_path / "one" / "craft_like" / last.pair.audio, dtype="int16")
        assert np.array_equal(alone, stored)

    def test_second_build_speaks_nothing(self, tmp_path, monkeypatch):
        first = build(tmp_path, ["prompt_like"], scale=TINY, jobs=1)
        monkeypatch.setattr(synthetic, "_speak_batch", pytest.fail)
        assert build(tmp_path, ["prompt_like"], scale=TINY, jobs=1) == first

    def test_killed_build_is_finished(self, tmp_path, monkeypatch):
        whole, broken = tmp_path / "whole", tmp_path / "broken"
        build(whole, ["prompt_like"], scale=TINY, jobs=1)
        said = []

        def three(utterance, synthesiser):
            if len(said) == 3:
                raise KeyboardInterrupt
            said.append(utterance.pair.pair_id)
            return speak(utterance, synthesiser)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(synthetic, "speak", three)
            build(broken, ["prompt_like"], scale=TINY, jobs=1)
        kept = {path: path.stat().st_mtime_ns for path in broken.rglob("*.flac")}
        assert len(kept) == 3
        assert not (broken / "prompt_like" / "build.json").exists()
        build(broken, ["prompt_like"], scale=TINY, jobs=1)
        assert sounds(broken) == sounds(whole)
        assert all(path.stat().st_mtime_ns == time for path, time in kept.items())

    def test_other_seed_replaces_the_build(self, tmp_path):
        build(tmp_path, ["prompt_like"], scale=TINY, jobs=1)
        former = sounds(tmp_path)
        build(tmp_path, ["prompt_like"], scale=TINY, seed=1, jobs=1)
        assert sounds(tmp_path).keys() == former.keys()
        assert all(sounds(tmp_path)[path] != former[path] for path in former)

    def test_foreign_folder_is_left_alone(self, tmp_path):
        mine = tmp_path / "prompt_like" / "mine.txt"
        mine.parent.mkdir()
        mine.write_text("precious")
        with pytest.raises(RaClapError, match="not a synthetic corpus"):
            build(tmp_path, ["prompt_like"], scale=TINY)
        assert mine.read_text() == "precious"


def test_names_of_attributes_are_known():
    assert all(set(spec.attributes) <= set(ATTRIBUTES) for spec in SPECS.values())
