"""The speakers of the synthetic corpora: voices of known sex and age, each cast in one split of one
corpus."""

from dataclasses import dataclass
from random import Random

from raclap.corpora.espeak import ACCENTS

SEXES = ("female", "male")
AGES = ("child", "adult", "old")

N_FORMANTS = 9


@dataclass(frozen=True, slots=True)
class Body:
    """What sex and age make of a voice.

    Attributes:
        f0: usual fundamental frequency, Hz.
        tract: factor on all formant frequencies; an adult man has 1.
        width: per cent of the formants' usual bandwidth.
        upper: per cent of the usual height of the formants above the third.
        tilt: spectral slope between 600 Hz and 2 kHz, dB, added to the neutral one.
        tremor: flutter of the pitch, in espeak-ng's units; 2 is its default.
    """

    f0: float
    tract: float
    width: int
    upper: int
    tilt: float
    tremor: int


BODIES = {
    ("female", "child"): Body(f0=310, tract=1.36, width=90, upper=100, tilt=2, tremor=2),
    ("male", "child"): Body(f0=255, tract=1.25, width=90, upper=100, tilt=2, tremor=2),
    ("female", "adult"): Body(f0=205, tract=1.13, width=100, upper=100, tilt=0, tremor=2),
    ("male", "adult"): Body(f0=112, tract=1.0, width=100, upper=100, tilt=0, tremor=2),
    ("female", "old"): Body(f0=180, tract=1.09, width=190, upper=45, tilt=-6, tremor=16),
    ("male", "old"): Body(f0=128, tract=0.96, width=190, upper=45, tilt=-6, tremor=16),
}


@dataclass(frozen=True, slots=True)
class Speaker:
    """One voice.

    Attributes:
        name: unique over all corpora and splits.
        sex, age: of `SEXES` and `AGES`.
        accent: the espeak-ng accent.
        f0: usual fundamental frequency, Hz.
        formants: frequency, height and width of each formant, per cent.
        tilt: spectral slope, dB.
        consonants: loudness of the consonants, per cent.
        tremor: flutter of the pitch.
    """

    name: str
    sex: str
    age: str
    accent: str
    f0: float
    formants: tuple[tuple[int, int, int], ...]
    tilt: float
    consonants: int
    tremor: int


def cast(prefix: str, ages: tuple[str, ...], each: int, rng: Random) -> list[Speaker]:
    """Makes speakers.

    Args:
        prefix: begins every name, so that two casts share none.
        ages: the ages wanted.
        each: how many of every sex and age.
        rng: decides what tells one speaker from another of the same sex and age.

    Returns:
        `len(ages) * 2 * each` speakers.
    """
    kinds = [(sex, age) for age in ages for sex in SEXES]
    return [
        _speaker(f"{prefix}-{age}-{sex}-{number:02d}", sex, age, rng) for sex, age in kinds for number in range(each)
    ]


def _speaker(name: str, sex: str, age: str, rng: Random) -> Speaker:
    body = BODIES[sex, age]
    length = rng.uniform(0.98, 1.02)
    formants = tuple(
        (
            round(100 * body.tract * length * rng.uniform(0.98, 1.02)),
            round((body.upper if number > 3 else 100) * rng.uniform(0.85, 1.15)),
            round(body.width * rng.uniform(0.9, 1.1)),
        )
        for number in range(N_FORMANTS)
    )
    return Speaker(
        name=name,
        sex=sex,
        age=age,
        accent=rng.choice(ACCENTS),
        f0=body.f0 * 2 ** (rng.uniform(-0.6, 0.6) / 12),
        formants=formants,
        tilt=body.tilt + rng.uniform(-1.5, 1.5),
        consonants=round(rng.uniform(85, 120)),
        tremor=body.tremor,
    )
