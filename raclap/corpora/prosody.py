"""How a style becomes sound: the rules of the synthetic corpora, from attributes to a voice of espeak-ng.

Pitch, speed and volume each have three levels with gaps between them, so that no clip lies on a border. An
emotion is a place in the plane of valence and arousal and a gesture of its own. The place moves pitch, speed,
volume, intonation range, spectral slope, consonants and front formants in proportion (`Pull`); the gesture
adds what the plane does not tell apart (`GESTURES`), and most of it survives a whisper, which has no pitch.
Levels are named after the emotion has moved them: they say what is heard.

| emotion   | valence | arousal | gesture                                                                   |
|-----------|---------|---------|---------------------------------------------------------------------------|
| neutral   |  0.0    |  0.0    | falling tune                                                              |
| happy     | +0.8    | +0.5    | wide, emphatic tune; stressed syllables much longer                       |
| sad       | -0.7    | -0.6    | falling tune; gaps between the words                                      |
| angry     | -0.6    | +0.8    | emphatic tune; hard consonants; strong contrast of stress                 |
| fearful   | -0.7    | +0.3    | unfinished tune; trembling pitch; narrow mouth; clipped syllables         |
| surprised | +0.4    | +0.8    | very wide, rising tune; open mouth                                        |
| disgusted | -0.6    |  0.0    | falling tune; open mouth, tongue drawn back; weak syllables drawn out     |
"""

from dataclasses import dataclass
from random import Random

from raclap.corpora.synthetic_voices import Speaker

# Zones in semitones from the speaker's usual pitch, words a minute, and dBFS of the root mean square, which
# leave room for the peaks: those of a creaky voice lie 25 dB higher.
PITCH = {"low": (-6.5, -4.0), "normal": (-1.2, 1.2), "high": (4.0, 6.5)}
SPEED = {"slow": (105.0, 130.0), "normal": (160.0, 190.0), "fast": (235.0, 280.0)}
VOLUME = {"low": (-44.0, -40.0), "normal": (-35.0, -32.0), "high": (-26.0, -23.0)}

TEXTURES = ("modal", "whispered", "creaky", "breathy")


@dataclass(frozen=True, slots=True)
class Gesture:
    """What an emotion does beside its valence and arousal.

    Attributes:
        valence, arousal: its place, each in [-1, 1].
        spread: how far from the place a clip may lie, in valence and in arousal.
        tune: espeak-ng's intonation of a statement: s1 falling, e1 emphatic, c1 unfinished, q1 rising.
        span: semitones added to the intonation range.
        tremor: flutter added.
        consonants: per cent of the speaker's loudness of consonants.
        mouth: per cent by which opening the mouth raises the first formant.
        tongue: per cent by which moving the tongue forward raises the second formant.
        word_gap: further pause between words, in 10 ms.
        lines: further lines of the voice file.
    """

    valence: float
    arousal: float
    spread: float = 0.25
    tune: str = "s1"
    span: float = 0.0
    tremor: int = 0
    consonants: int = 100
    mouth: int = 0
    tongue: int = 0
    word_gap: int = 0
    lines: tuple[str, ...] = ()


GESTURES = {
    "neutral": Gesture(0.0, 0.0, spread=0.1),
    "happy": Gesture(0.8, 0.5, tune="e1", span=2.0, lines=("stressAdd 0 0 0 0 0 0 60 90",)),
    "sad": Gesture(-0.7, -0.6, span=-0.5, consonants=90, word_gap=4),
    "angry": Gesture(-0.6, 0.8, tune="e1", span=-1.0, consonants=155, lines=("stressAmp 12 12 14 14 19 19 24 26",)),
    "fearful": Gesture(
        -0.7,
        0.3,
        tune="c1",
        span=-1.0,
        tremor=45,
        mouth=-14,
        tongue=6,
        lines=("stressAdd 0 0 0 0 0 0 -40 -60",),
    ),
    "surprised": Gesture(0.4, 0.8, tune="q1", span=4.0, mouth=24),
    "disgusted": Gesture(-0.6, 0.0, consonants=45, mouth=16, tongue=-16, lines=("stressAdd 60 60 30 30 0 0 0 0",)),
}
EMOTIONS = tuple(GESTURES)


class Pull:
    """What one unit of valence or arousal adds."""

    PITCH = 2.0  # semitones a unit of arousal
    SPEED = 0.12  # share of the rate a unit of arousal
    VOLUME = 3.0  # dB a unit of arousal
    SPAN = 3.5  # semitones of intonation range a unit of arousal
    TILT = 10.0  # dB a unit of arousal: effort brightens
    BITE = 40.0  # per cent of the consonants' loudness a unit of arousal
    LILT = 2.0  # semitones of intonation range a unit of valence
    SMILE = 12.0  # per cent of formants 2 to 5 a unit of valence: spread lips shorten the tract


@dataclass(frozen=True, slots=True)
class Delivery:
    """How one clip is said.

    Attributes:
        pitch, speed, volume: the level heard, keys of `PITCH`, `SPEED` and `VOLUME`.
        semitones, rate, level: the same as numbers, in the units of the zones.
        emotion, texture: of `EMOTIONS` and `TEXTURES`.
        valence, arousal: of this clip, each in [-1, 1].
    """

    pitch: str
    speed: str
    volume: str
    semitones: float
    rate: int
    level: float
    emotion: str = "neutral"
    texture: str = "modal"
    valence: float = 0.0
    arousal: float = 0.0


def deliver(
    rng: Random,
    *,
    pitch: str,
    speed: str,
    volume: str,
    emotion: str = "neutral",
    texture: str = "modal",
) -> Delivery:
    """Draws a delivery from the intended levels and the emotion that moves them.

    Args:
        rng: decides where in its level each quantity lies, and where near its emotion the clip lies.
        pitch, speed, volume: the levels intended before the emotion.
        emotion, texture: of `EMOTIONS` and `TEXTURES`.
    """
    valence, arousal = _place(rng, emotion)
    semitones = rng.uniform(*PITCH[pitch]) + Pull.PITCH * arousal
    rate = rng.uniform(*SPEED[speed]) * (1 + Pull.SPEED * arousal)
    level = rng.uniform(*VOLUME[volume]) + Pull.VOLUME * arousal
    pitch, semitones = _settle(PITCH, semitones)
    speed, rate = _settle(SPEED, rate)
    volume, level = _settle(VOLUME, level)
    return Delivery(
        pitch=pitch,
        speed=speed,
        volume=volume,
        semitones=semitones,
        rate=round(rate),
        level=level,
        emotion=emotion,
        texture=texture,
        valence=valence,
        arousal=arousal,
    )


def voice_lines(speaker: Speaker, delivery: Delivery) -> str:
    """The lines of an espeak-ng voice file that make this speaker speak so."""
    gesture = GESTURES[delivery.emotion]
    consonants = round(speaker.consonants * (gesture.consonants + Pull.BITE * delivery.arousal) / 100)
    lines = [
        _pitch_line(speaker, delivery),
        *_formant_lines(speaker, delivery),
        _tone_line(_tilt(speaker, delivery)),
        f"flutter {speaker.tremor + gesture.tremor}",
        f"consonants {consonants} {consonants}",
        f"tunes {gesture.tune} {gesture.tune} {gesture.tune} {gesture.tune}",
        *gesture.lines,
        *_TEXTURE_LINES[delivery.texture],
    ]
    return "\n".join(lines)


# Quiet speech is dull and loud speech is bright, in dB of slope, so that the level is heard after
# normalisation.
_EFFORT = {"low": -3.0, "normal": 0.0, "high": 3.0}

# A creaky glottis closes abruptly and a breathy one hardly: dB of slope.
_TEXTURE_TILT = {"creaky": 5.0, "breathy": -3.0}

_TEXTURE_LINES = {
    "modal": ("roughness 0",),
    "whispered": (
        "voicing 0",
        "breath 75 75 60 50 30 20",
        "breathw 150 150 200 200 400 400",
    ),
    "creaky": ("roughness 7",),
    "breathy": ("voicing 50", "breath 35 35 35 30 25 20", "breathw 150 150 200 200 400 400"),
}


def _place(rng: Random, emotion: str) -> tuple[float, float]:
    gesture = GESTURES[emotion]
    valence = gesture.valence + rng.uniform(-gesture.spread, gesture.spread)
    arousal = gesture.arousal + rng.uniform(-gesture.spread, gesture.spread)
    return _bounded(valence), _bounded(arousal)


def _bounded(value: float) -> float:
    return round(min(max(value, -1.0), 1.0), 3)


def _settle(zones: dict[str, tuple[float, float]], value: float) -> tuple[str, float]:
    """The nearest level, and the value moved into its zone."""

    def moved(zone: tuple[float, float]) -> float:
        return min(max(value, zone[0]), zone[1])

    name = min(zones, key=lambda name: abs(moved(zones[name]) - value))
    return name, moved(zones[name])


def _pitch_line(speaker: Speaker, delivery: Delivery) -> str:
    """Limits of the pitch in Hz.

    espeak-ng's median pitch leaves the middle of the limits as these part; the exponent, fitted to what it
    speaks, takes that out.
    """
    span = max(
        1.0,
        5.0 + Pull.SPAN * delivery.arousal + Pull.LILT * delivery.valence + GESTURES[delivery.emotion].span,
    )
    middle = speaker.f0 * 2 ** (delivery.semitones / 12 + 0.11 - 0.0325 * span)
    low, high = middle * 2 ** (-span / 24), middle * 2 ** (span / 24)
    return f"pitch {round(low)} {round(high)}"


def _formant_lines(speaker: Speaker, delivery: Delivery) -> list[str]:
    gesture = GESTURES[delivery.emotion]
    lines = []
    for number, (frequency, height, width) in enumerate(speaker.formants):
        per_cent = 100.0
        if 2 <= number <= 5:
            per_cent += Pull.SMILE * delivery.valence
        per_cent += {1: gesture.mouth, 2: gesture.tongue}.get(number, 0)
        lines.append(f"formant {number} {round(frequency * per_cent / 100)} {height} {width}")
    return lines


def _tilt(speaker: Speaker, delivery: Delivery) -> float:
    return (
        speaker.tilt
        + Pull.TILT * delivery.arousal
        + _EFFORT[delivery.volume]
        + _TEXTURE_TILT.get(delivery.texture, 0.0)
    )


def _tone_line(tilt: float) -> str:
    """espeak-ng's usual slope (170 at 600 Hz, 135, 110 at 2 kHz), tilted by so many dB about its middle."""
    half = 10 ** (tilt / 40)
    low, high = min(round(170 / half), 255), min(round(110 * half), 255)
    return f"tone 600 {low} 1200 135 2000 {high}"
