import re
import subprocess
import sys
from itertools import product

import pytest

from raclap.corpora import vocabulary
from raclap.corpora.composition import EMOTIONS, MEASURED, RATED, composable, compose
from raclap.errors import ManifestError

FULL = {
    "emotion": "angry",
    "intensity": "strong",
    "sex": "female",
    "age": "elderly",
    "pitch": "high",
    "speed": "fast",
    "volume": "low",
}
EVERY = [
    {"emotion": emotion, "intensity": intensity, "sex": sex, "pitch": pitch, "speed": speed, "volume": volume}
    for emotion, intensity, sex, pitch, speed, volume in product(
        EMOTIONS, ("mild", "normal", "strong"), ("male", "female"), *MEASURED.values()
    )
]
# Every level that listeners can have rated, with an emotion and without.
EVERY += [
    {"sex": sex, **emotion, **dict(zip(RATED, levels, strict=True))}
    for sex, emotion, *levels in product(
        ("male", "female"), ({"emotion": "angry"}, {"emotion": "neutral"}, {}), *RATED.values()
    )
]
LEVELS = {**MEASURED, **RATED}
CAPTIONS = [(attributes, compose(f"clip{row}", attributes)) for row, attributes in enumerate(EVERY)]


def phrases(emotion: str) -> set[str]:
    words = EMOTIONS[emotion]
    return {*words.adjectives, *words.states, *words.manners, *words.nouns, *words.strong}


def test_captions_are_distinct_and_name_known_attributes():
    for attributes, captions in CAPTIONS:
        assert len(captions) == 6
        assert len({caption.text for caption in captions}) == 6
        for caption in captions:
            assert caption.names
            assert set(caption.names) <= attributes.keys()


def test_the_first_caption_names_everything_and_the_second_the_emotion():
    for attributes, (first, second, *_) in CAPTIONS:
        silent = {"intensity"} if attributes.get("emotion") == "neutral" else set()
        assert set(first.names) == attributes.keys() - silent
        assert "emotion" not in attributes or second.names == ("emotion",)


def test_most_captions_name_the_emotion():
    for attributes, captions in CAPTIONS:
        assert sum("emotion" in caption.names for caption in captions) >= (4 if "emotion" in attributes else 0)


def test_pitch_is_named_with_the_sex_and_intensity_with_the_emotion():
    for attributes, captions in CAPTIONS:
        for caption in captions:
            assert "pitch" not in caption.names or "sex" in caption.names
            assert "intensity" not in caption.names or "emotion" in caption.names
            assert "intensity" not in caption.names or attributes["emotion"] != "neutral"
            assert "emotion" in attributes or not {"emotion", "intensity"} & set(caption.names)


def test_texts_say_what_they_name_and_nothing_else():
    for attributes, captions in CAPTIONS:
        for caption in captions:
            text = caption.text.lower()
            if "emotion" in attributes:
                assert ("emotion" in caption.names) == any(p in text for p in phrases(attributes["emotion"]))
            assert ("sex" in caption.names) == bool(re.search(r"\b(wo)?man\b|\b(fe)?male\b", text))
            for name in LEVELS.keys() & attributes.keys():
                words = LEVELS[name][attributes[name]]
                said = [w for w in (*words.manners, *words.qualities, *words.traits) if re.search(rf"\b{w}\b", text)]
                assert bool(said) == (name in caption.names), (caption, name)


def test_the_other_sex_and_other_levels_are_never_said():
    for attributes, captions in CAPTIONS:
        text = " ".join(caption.text.lower() for caption in captions)
        other = "female|woman" if attributes["sex"] == "male" else "male|man"
        assert not re.search(rf"\b({other})\b", text)
        for name in LEVELS.keys() & attributes.keys():
            for level, words in LEVELS[name].items():
                if level != attributes[name]:
                    assert not re.search(rf"\b({'|'.join(words.manners + words.traits)})\b", text)


def test_strong_words_are_only_used_where_the_intensity_is_named():
    for attributes, captions in CAPTIONS:
        for caption in captions:
            words = EMOTIONS[attributes["emotion"]].strong if "emotion" in attributes else ()
            strong = any(word in caption.text.lower() for word in words)
            assert not strong or ("intensity" in caption.names and attributes["intensity"] == "strong")


def test_degrees_are_only_said_where_the_intensity_is_named():
    degrees = {
        "mild": r"mildly|slightly|faintly|mild|slight|a hint of",
        "normal": r"moderately|fairly|rather",
        "strong": r"very|extremely|deeply|great|intense|a great deal of",
    }
    for attributes, captions in CAPTIONS:
        for caption in captions if "intensity" in attributes else ():
            for degree, words in degrees.items():
                said = re.search(rf"\b({words})\b", caption.text.lower())
                assert not said or ("intensity" in caption.names and attributes["intensity"] == degree), caption


def test_english_is_well_formed():
    for _, captions in CAPTIONS:
        for text in (caption.text for caption in captions):
            assert re.fullmatch(r"[A-Z][A-Za-z ,;'-]+\.", text), text
            assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|  | ,|,,|, and and", text.lower()), text
            assert not re.search(r"\bspeaker speaks\b", text), text


def test_every_emotion_has_many_paraphrases():
    assert set(EMOTIONS) >= set(vocabulary.EMOTIONS.values())
    for emotion in EMOTIONS:
        words = EMOTIONS[emotion]
        assert len(set(words.adjectives)) >= 6
        assert len(set(words.manners)) >= 6
        texts = {compose(str(seed), {"emotion": emotion})[0].text for seed in range(200)}
        assert len(texts) >= 30
    # No phrase of one emotion is also said of another.
    for one, other in product(EMOTIONS, EMOTIONS):
        assert one == other or not phrases(one) & phrases(other)


def test_captions_are_the_same_in_every_process():
    program = f"from raclap.corpora.composition import compose; print(compose('clip', {FULL!r}))"
    runs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert runs == {repr(compose("clip", FULL))}


def test_captions_differ_between_clips():
    assert compose("one", FULL) != compose("other", FULL)


@pytest.mark.parametrize("count", [1, 3, 12])
def test_count(count: int):
    assert len(compose("clip", FULL, count)) == count


def test_age_names_the_person():
    assert "elderly woman" in compose("clip", {"emotion": "sad", "sex": "female", "age": "elderly"})[0].text
    assert "child" in compose("clip", {"emotion": "sad", "age": "child"}, 1)[0].text


def test_measured_attributes_suffice():
    captions = compose("clip", {"speed": "slow", "volume": "high"})
    assert captions[0].names == ("speed", "volume")
    assert 1 <= len(captions) <= 6


def test_ratings_suffice():
    captions = compose("clip", {"sex": "male", "valence_level": "low", "arousal_level": "high"})
    assert captions[0].names == ("sex", "valence_level", "arousal_level")
    assert re.search("negative|unpleasant", captions[0].text) and "energ" in captions[0].text


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"emotion": "sad"}, True),
        ({"speed": "slow"}, True),
        ({"arousal_level": "low"}, True),
        ({"sex": "male"}, False),
    ],
)
def test_composable_says_what_compose_can_do(attributes: dict[str, str], expected: bool):
    assert composable(attributes) == expected
    if expected:
        assert compose("clip", attributes)


def test_other_attributes_are_not_named():
    assert all(c.names == ("emotion",) for c in compose("clip", {"emotion": "sad", "accent": "Irish"}))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"emotion": "melodramatic"}, "clip7: emotion 'melodramatic'; expected one of neutral, calm"),
        ({"emotion": "sad", "pitch": "medium"}, "clip7: pitch 'medium'; expected one of low, normal, high"),
        ({"sex": "male"}, "clip7: neither the emotion nor"),
    ],
)
def test_what_cannot_be_said_is_an_error(attributes: dict[str, str], message: str):
    with pytest.raises(ManifestError, match=message):
        compose("clip7", attributes)
