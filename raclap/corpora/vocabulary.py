"""Words for style that corpora share: whatever a corpus calls a value, the manifest says it in one way.

The names of attributes are `sex`, `age`, `emotion`, `intensity`, `pitch`, `speed`, `volume` and what a corpus adds.
"""

SEXES = {"m": "male", "male": "male", "man": "male", "f": "female", "female": "female", "woman": "female"}
PITCHES = {
    "low": "low",
    "normal": "normal",
    "medium": "normal",
    "high": "high",
    "very-low": "very low",
    "very low": "very low",
    "very-high": "very high",
    "very high": "very high",
}
SPEEDS = {
    "slow": "slow",
    "low": "slow",
    "normal": "normal",
    "medium": "normal",
    "fast": "fast",
    "high": "fast",
    "very-slow": "very slow",
    "very slow": "very slow",
    "very-fast": "very fast",
    "very fast": "very fast",
}
VOLUMES = {
    "low": "low",
    "quiet": "low",
    "normal": "normal",
    "medium": "normal",
    "high": "high",
    "loud": "high",
    "very-low": "very low",
    "very low": "very low",
    "very-high": "very high",
    "very high": "very high",
}
EMOTIONS = {
    "angry": "angry",
    "anger": "angry",
    "happy": "happy",
    "happiness": "happy",
    "joy": "happy",
    "sad": "sad",
    "sadness": "sad",
    "fear": "fearful",
    "fearful": "fearful",
    "disgust": "disgusted",
    "disgusted": "disgusted",
    "surprise": "surprised",
    "surprised": "surprised",
    "neutral": "neutral",
    "contempt": "contemptuous",
    "contemptuous": "contemptuous",
    "calm": "calm",
    "bored": "bored",
    "boredom": "bored",
    "excited": "excited",
    "frustrated": "frustrated",
}


# Words for ages, each up to an age in years that is no longer meant by it. Sixty is where the World Health
# Organization's older people begin; the other borders are this project's.
_AGES = ((13, "child"), (20, "teenager"), (35, "young adult"), (45, "adult"), (60, "middle-aged"))


def age_word(years: float) -> str:
    """What an age in years is called.

    Example:
        >>> age_word(21), age_word(59), age_word(60)
        ('young adult', 'middle-aged', 'elderly')
    """
    return next((word for below, word in _AGES if years < below), "elderly")


def style_key(attributes: dict[str, str]) -> str | None:
    """The key that clips of equal attributes share; None where nothing is known.

    Example:
        >>> style_key({"sex": "male", "pitch": "low"})
        'pitch=low|sex=male'
    """
    return "|".join(f"{name}={value}" for name, value in sorted(attributes.items())) or None
