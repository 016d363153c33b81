"""Captions for corpora that only have labels, composed from labels, from ratings and from measured attributes.

Every caption names a part of what is known and says which, so that evaluation can tell what other clips it
describes. Emotions are said in many ways, so that a model learns the meaning and not the label.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from raclap.data.manifest import Caption
from raclap.errors import ManifestError


@dataclass(frozen=True, slots=True)
class EmotionWords:
    """Ways to say one emotion.

    Attributes:
        adjectives: fit both "sounds ..." and "a ... voice"; "very" may stand before the first three.
        states: only fit "sounds ...".
        manners: fit "speaks ...".
        nouns: fit "speaks with ..." and "there is ... in the voice"; "great" may stand before the first two.
        strong: adjectives for strong emotion only.
    """

    adjectives: tuple[str, ...]
    states: tuple[str, ...]
    manners: tuple[str, ...]
    nouns: tuple[str, ...]
    strong: tuple[str, ...] = ()


EMOTIONS = {
    "neutral": EmotionWords(
        adjectives=(
            "neutral",
            "matter-of-fact",
            "unemotional",
            "impassive",
            "expressionless",
            "dispassionate",
        ),
        states=("free of emotion", "devoid of feeling"),
        manners=(
            "neutrally",
            "without emotion",
            "in a matter-of-fact way",
            "impassively",
            "in a neutral tone",
            "dispassionately",
        ),
        nouns=("no emotion", "no particular feeling", "no trace of feeling"),
    ),
    "calm": EmotionWords(
        adjectives=("calm", "peaceful", "relaxed", "serene", "composed", "tranquil", "untroubled"),
        states=("at ease", "at peace"),
        manners=(
            "calmly",
            "peacefully",
            "serenely",
            "in a relaxed way",
            "in a composed manner",
            "soothingly",
        ),
        nouns=("calm", "serenity", "composure", "tranquillity"),
        strong=("utterly serene", "deeply tranquil", "completely relaxed"),
    ),
    "happy": EmotionWords(
        adjectives=("happy", "cheerful", "joyful", "glad", "merry", "upbeat", "pleased"),
        states=("in high spirits", "in a good mood"),
        manners=("happily", "cheerfully", "joyfully", "merrily", "in a happy tone", "as if smiling"),
        nouns=("joy", "happiness", "cheerfulness", "gladness"),
        strong=("overjoyed", "elated", "ecstatic", "jubilant"),
    ),
    "sad": EmotionWords(
        adjectives=("sad", "unhappy", "sorrowful", "mournful", "gloomy", "downcast", "melancholy"),
        states=("down at heart", "in low spirits"),
        manners=("sadly", "unhappily", "sorrowfully", "mournfully", "in a sad tone", "with a heavy heart"),
        nouns=("sadness", "sorrow", "unhappiness", "melancholy"),
        strong=("heartbroken", "grief-stricken", "devastated", "despairing"),
    ),
    "angry": EmotionWords(
        adjectives=("angry", "annoyed", "irritated", "cross", "indignant", "hostile", "irate"),
        states=("in a temper", "mad"),
        manners=("angrily", "crossly", "irritably", "indignantly", "in an angry tone", "in annoyance"),
        nouns=("anger", "irritation", "annoyance", "indignation"),
        strong=("furious", "enraged", "livid", "seething"),
    ),
    "fearful": EmotionWords(
        adjectives=("fearful", "frightened", "anxious", "scared", "nervous", "alarmed", "worried"),
        states=("afraid", "on edge"),
        manners=("fearfully", "anxiously", "nervously", "in fright", "in a frightened tone", "as if afraid"),
        nouns=("fear", "anxiety", "fright", "alarm"),
        strong=("terrified", "petrified", "panic-stricken", "horrified"),
    ),
    "disgusted": EmotionWords(
        adjectives=("disgusted", "repulsed", "sickened", "revolted", "nauseated", "repelled"),
        states=("full of disgust", "put off"),
        manners=(
            "in disgust",
            "in a disgusted tone",
            "as if sickened",
            "as if repelled by something",
            "in a repulsed way",
            "as if tasting something foul",
        ),
        nouns=("disgust", "revulsion", "distaste", "repugnance"),
        strong=("utterly revolted", "thoroughly nauseated", "completely repelled"),
    ),
    "surprised": EmotionWords(
        adjectives=("surprised", "startled", "amazed", "astonished", "incredulous", "astounded"),
        states=("taken aback", "caught unawares"),
        manners=(
            "in surprise",
            "in astonishment",
            "in amazement",
            "incredulously",
            "in a surprised tone",
            "as if startled",
        ),
        nouns=("surprise", "astonishment", "amazement", "disbelief"),
        strong=("dumbfounded", "thunderstruck", "utterly astonished", "completely stunned"),
    ),
    "bored": EmotionWords(
        adjectives=("bored", "uninterested", "listless", "weary", "indifferent", "unenthusiastic"),
        states=("fed up", "tired of it all"),
        manners=(
            "listlessly",
            "wearily",
            "without interest",
            "in a bored tone",
            "indifferently",
            "as if bored",
        ),
        nouns=("boredom", "weariness", "listlessness", "indifference"),
        strong=("utterly bored", "thoroughly weary", "completely uninterested"),
    ),
    "contemptuous": EmotionWords(
        adjectives=("contemptuous", "scornful", "disdainful", "derisive", "sneering", "dismissive"),
        states=("full of contempt", "full of scorn"),
        manners=(
            "contemptuously",
            "scornfully",
            "disdainfully",
            "with a sneer",
            "in a contemptuous tone",
            "as if looking down on someone",
        ),
        nouns=("contempt", "scorn", "disdain", "derision"),
        strong=("utterly contemptuous", "witheringly scornful", "thoroughly disdainful"),
    ),
    "excited": EmotionWords(
        adjectives=("excited", "eager", "enthusiastic", "thrilled", "exhilarated", "keyed-up"),
        states=("full of enthusiasm", "buzzing with excitement"),
        manners=(
            "excitedly",
            "eagerly",
            "enthusiastically",
            "in an excited tone",
            "as if thrilled",
            "as if unable to wait",
        ),
        nouns=("excitement", "eagerness", "enthusiasm", "exhilaration"),
        strong=("wildly excited", "feverishly eager", "utterly thrilled"),
    ),
    "frustrated": EmotionWords(
        adjectives=("frustrated", "exasperated", "vexed", "thwarted", "impatient", "discouraged"),
        states=("out of patience", "at a loss what else to try"),
        manners=(
            "in frustration",
            "in exasperation",
            "impatiently",
            "in a frustrated tone",
            "as if nothing worked",
            "as if held back",
        ),
        nouns=("frustration", "exasperation", "vexation", "impatience"),
        strong=("thoroughly frustrated", "utterly exasperated", "deeply vexed"),
    ),
}

# Before an adjective, and before a noun.
_DEGREES = {
    "mild": (("mildly", "slightly", "faintly"), ("mild", "slight", "a hint of")),
    "normal": (("moderately", "fairly", "rather"), ("moderate", "some", "a measure of")),
    "strong": (("very", "extremely", "deeply"), ("great", "intense", "a great deal of")),
}

_PEOPLE = {
    "child": ("child", "boy", "girl"),
    "teenager": ("teenager", "teenage boy", "teenage girl"),
    "young adult": ("young speaker", "young man", "young woman"),
    "adult": ("adult", "adult man", "adult woman"),
    "middle-aged": ("middle-aged speaker", "middle-aged man", "middle-aged woman"),
    "elderly": ("elderly speaker", "elderly man", "elderly woman"),
}
_SEXES = {"male": 1, "female": 2}


@dataclass(frozen=True, slots=True)
class LevelWords:
    """Ways to say one level of a measured or rated attribute.

    Attributes:
        manners: fit "speaks ...".
        qualities: fit "the delivery is ...".
        traits: fit "with ...".
    """

    manners: tuple[str, ...]
    qualities: tuple[str, ...]
    traits: tuple[str, ...]


MEASURED = {
    "pitch": {
        "low": LevelWords(
            ("at a low pitch", "in a deep voice", "in a low register"),
            ("low in pitch", "low-pitched"),
            ("a low pitch",),
        ),
        "normal": LevelWords(
            ("at a medium pitch", "in a mid-range pitch", "at an average pitch"),
            ("medium in pitch", "average in pitch"),
            ("a medium pitch", "an average pitch"),
        ),
        "high": LevelWords(
            ("at a high pitch", "in a high-pitched voice", "in a high register"),
            ("high in pitch", "high-pitched"),
            ("a high pitch",),
        ),
    },
    "speed": {
        "slow": LevelWords(
            ("slowly", "at a slow pace", "unhurriedly"),
            ("slow", "unhurried"),
            ("a slow pace", "a slow tempo"),
        ),
        "normal": LevelWords(
            ("at a normal pace", "at a moderate speed", "at an ordinary tempo"),
            ("moderate in pace", "normal in speed"),
            ("a normal pace", "a moderate tempo"),
        ),
        "fast": LevelWords(
            ("quickly", "rapidly", "at a fast pace"),
            ("fast", "quick", "rapid"),
            ("a fast pace", "a quick tempo"),
        ),
    },
    "volume": {
        "low": LevelWords(("quietly", "softly", "at a low volume"), ("quiet", "soft"), ("a low volume",)),
        "normal": LevelWords(
            ("at a normal volume", "at a moderate volume", "at an ordinary volume"),
            ("normal in volume", "moderate in volume"),
            ("a normal volume", "a moderate volume"),
        ),
        "high": LevelWords(("loudly", "at a high volume"), ("loud",), ("a high volume",)),
    },
}

# What listeners rated on scales, by the column of the manifest with `_level` behind it.
RATED = {
    "valence_level": {
        "low": LevelWords(
            ("in a negative tone", "in an unpleasant tone"),
            ("negative in tone", "unpleasant in tone"),
            ("a negative tone", "an unpleasant tone"),
        ),
        "normal": LevelWords(
            ("in a tone between positive and negative",),
            ("between positive and negative in tone",),
            ("a tone between positive and negative",),
        ),
        "high": LevelWords(
            ("in a positive tone", "in a pleasant tone"),
            ("positive in tone", "pleasant in tone"),
            ("a positive tone", "a pleasant tone"),
        ),
    },
    "arousal_level": {
        "low": LevelWords(
            ("with little energy", "in a subdued way"),
            ("subdued", "low in energy"),
            ("little energy",),
        ),
        "normal": LevelWords(
            ("with moderate energy", "with an ordinary amount of energy"),
            ("moderate in energy", "average in energy"),
            ("moderate energy", "an ordinary amount of energy"),
        ),
        "high": LevelWords(
            ("energetically", "with a lot of energy"),
            ("energetic", "high in energy"),
            ("a lot of energy", "much energy"),
        ),
    },
    "dominance_level": {
        "low": LevelWords(
            ("submissively", "in a yielding way"),
            ("submissive", "yielding"),
            ("little assertiveness",),
        ),
        "normal": LevelWords(
            ("with moderate assertiveness", "with an ordinary amount of assertiveness"),
            ("moderate in assertiveness", "average in assertiveness"),
            ("moderate assertiveness", "an ordinary amount of assertiveness"),
        ),
        "high": LevelWords(
            ("assertively", "with authority"),
            ("assertive", "commanding"),
            ("great assertiveness", "a commanding manner"),
        ),
    },
}

_LEVELS = {**MEASURED, **RATED}
_VALUES: dict[str, Sequence[str]] = {
    "emotion": tuple(EMOTIONS),
    "intensity": tuple(_DEGREES),
    "sex": tuple(_SEXES),
    "age": tuple(_PEOPLE),
    **{name: tuple(levels) for name, levels in _LEVELS.items()},
}


def composable(attributes: Mapping[str, str]) -> bool:
    """Whether enough is known for a caption: the emotion, or a measured or rated attribute."""
    return not attributes.keys().isdisjoint(("emotion", *_LEVELS))


def compose(pair_id: str, attributes: Mapping[str, str], count: int = 6) -> tuple[Caption, ...]:
    """Composes captions of one clip, the same for the same arguments, on every machine.

    The first names everything, the second the emotion alone; the others name a part drawn by chance, with the
    emotion in at least two of three. Pitch is named together with the sex, where that is known, since it is
    low or high for a man or for a woman. The intensity of neutral speech is never named.

    Args:
        pair_id: seeds the choice.
        attributes: any of emotion, intensity, sex, age, pitch, speed, volume, valence_level, arousal_level and
            dominance_level; other keys are not named.
        count: most captions; fewer come back when so little is known that they would repeat.

    Raises:
        ManifestError: a value has no words, or neither the emotion nor a measured or rated attribute is known.

    Example:
        >>> [caption.names for caption in compose("clip", {"emotion": "sad", "volume": "low"}, count=2)]
        [('emotion', 'volume'), ('emotion',)]
    """
    known = _known(pair_id, attributes)
    random = Random(hashlib.sha256(pair_id.encode()).digest())
    captions: dict[str, Caption] = {}
    for _ in range(8 * count):
        if len(captions) == count:
            break
        names = _choose(known, len(captions), random)
        text = _sentence({name: known[name] for name in names}, random)
        captions.setdefault(text, Caption(text, names))
    return tuple(captions.values())


@dataclass(frozen=True, slots=True)
class _Parts:
    """The words drawn for one caption; empty for what it does not name.

    Attributes:
        mood: fits "sounds ...".
        adjective: fits "a ... voice".
        manners: fit "speaks ...", that of the emotion among them.
        noun: fits "there is ... in the voice".
        person: who speaks, without article.
        sex: fits "a ... voice".
        delivery, qualities, traits: manners, qualities and traits of the measured and rated attributes.
    """

    mood: str
    adjective: str
    manners: list[str]
    noun: str
    person: str
    sex: str
    delivery: list[str]
    qualities: list[str]
    traits: list[str]


def _known(pair_id: str, attributes: Mapping[str, str]) -> dict[str, str]:
    known = {name: attributes[name] for name in _VALUES if name in attributes}
    for name, value in known.items():
        if value not in _VALUES[name]:
            raise ManifestError(f"{pair_id}: {name} '{value}'; expected one of {', '.join(_VALUES[name])}")
    if known.get("emotion", "neutral") == "neutral":
        known.pop("intensity", None)
    if not composable(known):
        raise ManifestError(f"{pair_id}: neither the emotion nor a measured or rated attribute to make a caption of")
    return known


def _choose(known: Mapping[str, str], position: int, random: Random) -> tuple[str, ...]:
    """Which attributes the caption at a position names, in the order of `known`."""
    if position == 0:
        return tuple(known)
    if position == 1 and "emotion" in known:
        return ("emotion",)
    levels = [name for name in known if name in _LEVELS]
    without_emotion = "emotion" not in known or (position % 3 == 2 and levels and random.random() < 0.5)
    others = [name for name in known if name != "emotion" and not (name == "intensity" and without_emotion)]
    fewest = min(2, len(others)) if without_emotion else 0
    chosen = set(random.sample(others, random.randint(fewest, len(others))))
    if not without_emotion:
        chosen.add("emotion")
    elif not chosen.intersection(levels):
        chosen.add(random.choice(levels))
    if "pitch" in chosen and "sex" in known:
        chosen.add("sex")
    return tuple(name for name in known if name in chosen)


def _sentence(named: Mapping[str, str], random: Random) -> str:
    parts = _draw(named, random)
    sentence = random.choice(_with_emotion(parts, random) if parts.mood else _without_emotion(parts, random))
    return f"{sentence[0].upper()}{sentence[1:]}."


def _draw(named: Mapping[str, str], random: Random) -> _Parts:
    mood = adjective = manner = noun = ""
    if "emotion" in named:
        mood, adjective, manner, noun = _draw_emotion(EMOTIONS[named["emotion"]], named.get("intensity"), random)
    levels = [_LEVELS[name][value] for name, value in named.items() if name in _LEVELS]
    random.shuffle(levels)
    delivery = _adverbs_first(random.choice(level.manners) for level in levels)
    person = _PEOPLE[named["age"]][_SEXES.get(named.get("sex", ""), 0)] if "age" in named else ""
    return _Parts(
        mood=mood,
        adjective=adjective,
        manners=_adverbs_first([manner, *delivery]) if manner else delivery,
        noun=noun,
        person=person or {"male": "man", "female": "woman"}.get(named.get("sex", ""), ""),
        sex=named.get("sex", ""),
        delivery=delivery,
        qualities=[random.choice(level.qualities) for level in levels],
        traits=[random.choice(level.traits) for level in levels],
    )


def _draw_emotion(words: EmotionWords, intensity: str | None, random: Random) -> tuple[str, str, str, str]:
    """A mood, an adjective, a manner and a noun."""
    if intensity is None:
        mood = random.choice(words.adjectives + words.states)
        manner = random.choice((*words.manners, f"with {random.choice(words.nouns)}"))
        return mood, random.choice(words.adjectives), manner, random.choice(words.nouns)
    before_adjective, before_noun = _DEGREES[intensity]
    adjective = f"{random.choice(before_adjective)} {random.choice(words.adjectives[:3])}"
    if intensity == "strong":
        adjective = random.choice((adjective, random.choice(words.strong)))
    noun = f"{random.choice(before_noun)} {random.choice(words.nouns[:2])}"
    return adjective, adjective, f"with {noun}", noun


def _with_emotion(parts: _Parts, random: Random) -> list[str]:
    """Every sentence that the parts allow."""
    subject = _a(parts.person) if parts.person else random.choice(("the speaker", "someone"))
    anyone = _a(parts.person) if parts.person else random.choice(("someone", "a person"))
    source = f" from {_a(parts.person)}" if parts.person else ""
    voice = f"the voice of {_a(parts.person)}" if parts.person else "the speaker's voice"
    spoken = _list(parts.delivery)
    sentences = [
        _speaks(parts, parts.manners, random),
        f"{subject} sounds {parts.mood}" + (f", speaking {spoken}" if spoken else ""),
        f"{anyone} who sounds {parts.mood}" + (f" and speaks {spoken}" if spoken else ""),
        f"{parts.adjective} speech{source}" + (f", delivered {spoken}" if spoken else ""),
        _voice(parts) + (f" with {_list(parts.traits)}" if parts.traits else ""),
        f"there is {parts.noun} in {voice}",
    ]
    if parts.qualities:
        sentences[-1] += f", and the delivery is {_list(parts.qualities)}"
        sentences.append(f"{subject} sounds {parts.mood}; the delivery is {_list(parts.qualities)}")
    return sentences


def _without_emotion(parts: _Parts, random: Random) -> list[str]:
    """Every sentence that the parts allow."""
    subject = _a(parts.person) if parts.person else random.choice(("the speaker", "someone"))
    source = f" from {_a(parts.person)}," if parts.person else ""
    return [
        _speaks(parts, parts.delivery, random),
        f"speech{source} delivered {_list(parts.delivery)}",
        f"{_voice(parts)} with {_list(parts.traits)}",
        f"{subject} is speaking, and the delivery is {_list(parts.qualities)}",
    ]


def _speaks(parts: _Parts, manners: Sequence[str], random: Random) -> str:
    subject = _a(parts.person) if parts.person else random.choice(("someone", "this person"))
    return f"{subject} {random.choice(('speaks', 'talks'))} {_list(manners)}"


def _voice(parts: _Parts) -> str:
    """Names sex by an adjective; age has none that fits a voice."""
    if parts.person in ("", "man", "woman"):
        return _a(" ".join(word for word in (parts.adjective, parts.sex, "voice") if word))
    described = f"{parts.adjective} voice" if parts.adjective else "voice"
    return f"the {described} of {_a(parts.person)}"


def _a(noun: str) -> str:
    # No word of this module is an exception such as "honest" or "unique".
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _adverbs_first(manners: Iterable[str]) -> list[str]:
    """Single words before phrases: "loudly and at a high pitch"."""
    return sorted(manners, key=lambda manner: " " in manner)


def _list(words: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)
