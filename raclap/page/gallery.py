"""The clips that the page searches: spoken by the embedded synthesiser, or the user's own."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from raclap.corpora.candidate_table import find_recordings_below
from raclap.corpora.espeak import Synthesiser
from raclap.corpora.synthetic import SPECS, VERSION, Utterance, plan, speak_all
from raclap.data.manifest import SPLITS, Pair, read_manifest
from raclap.errors import ManifestError, RaClapError

_CORPUS = "craft_like"  # the embedded corpus with the widest range of voices
_MOST_SPOKEN = SPECS[_CORPUS].clips["test"]
_PERSONS = {
    ("female", "child"): "girl", ("female", "adult"): "woman", ("female", "old"): "old woman",
    ("male", "child"): "boy", ("male", "adult"): "man", ("male", "old"): "old man",
}  # fmt: skip
_UNREMARKABLE = ("normal", "neutral", "modal")
_OF_DEGREE = ("pitch", "speed", "volume")  # a value alone ("low") would not say of what


@dataclass(frozen=True)
class GalleryClip:
    """A clip to be found and heard.

    Attributes:
        path: of the recording.
        title: what is said in it, or else its name.
        facts: what is known of how it sounds, for people to check a model by; models do not see it.
    """

    path: Path
    title: str
    facts: tuple[str, ...] = ()


def synthesised_gallery(count: int, folder: Path) -> list[GalleryClip]:
    """Clips of voices and sentences that no demo model was trained on, spoken once and kept.

    Args:
        count: of clips; few of them are as varied as many.
        folder: gets a folder of this gallery.

    Raises:
        RaClapError: more clips than there are, or espeak-ng is not installed and the clips are not there yet.
    """
    if count > _MOST_SPOKEN:
        raise RaClapError(f"at most {_MOST_SPOKEN} clips are spoken, not {count}; name recordings: --gallery FOLDER")
    utterances = _varied([utterance for utterance in plan(_CORPUS) if utterance.pair.split == "test"])[:count]
    root = folder / f"{_CORPUS}-{VERSION}"
    missing = [utterance for utterance in utterances if not (root / utterance.pair.audio).is_file()]
    if missing:
        _require_synthesiser()
        speak_all(missing, root, jobs=1, name="the gallery")
    return [GalleryClip(root / u.pair.audio, _title(u.pair), _facts(u.pair)) for u in utterances]


def users_gallery(path: Path, most: int) -> list[GalleryClip]:
    """Clips of a manifest, its test split first, or of a folder.

    Args:
        path: a manifest (`.parquet`, or a folder of `part-*.parquet`), or a folder of recordings.
        most: clips to take.

    Raises:
        ManifestError: it holds no clips, or is no manifest.
    """
    if path.suffix != ".parquet" and not any(path.glob("part-*.parquet")):
        if not path.is_dir():
            raise ManifestError(f"{path}: neither a manifest (.parquet) nor a folder of recordings")
        return [GalleryClip(file, file.stem) for file in find_recordings_below(path)[:most]]
    manifest = read_manifest(path)
    splits, starts = manifest.column("split"), manifest.column("start")
    whole = [row for row, start in enumerate(starts) if start is None]  # a player plays whole files
    rows = sorted(whole, key=lambda row: -SPLITS.index(splits[row]))
    if not rows:
        raise ManifestError(f"{path}: no row is a whole recording")
    pairs = list(manifest.rows(rows[:most]))
    return [GalleryClip(manifest.audio_path(pair), _title(pair), _facts(pair)) for pair in pairs]


def _require_synthesiser() -> None:
    try:
        Synthesiser().close()
    except RaClapError as error:
        raise RaClapError(f"{error}; or name recordings of your own: --gallery FOLDER") from error


def _varied(utterances: Sequence[Utterance]) -> list[Utterance]:
    """The same, so that each kind of person and mood comes once before any comes twice."""
    turns: Counter[tuple[str | None, ...]] = Counter()

    def turn(utterance: Utterance) -> int:
        kind = (utterance.pair.sex, utterance.pair.age, utterance.pair.emotion)
        turns[kind] += 1
        return turns[kind]

    return sorted(utterances, key=turn)


def _title(pair: Pair) -> str:
    return pair.transcript or pair.pair_id


def _facts(pair: Pair) -> tuple[str, ...]:
    """What stands out: ("old woman", "sad", "low pitch", "whispered")."""
    manner = {"emotion": pair.emotion, **pair.attributes}
    sex, age = (manner.pop(name, None) or getattr(pair, name) for name in ("sex", "age"))
    person = _PERSONS.get((sex, age or "adult")) or " ".join(filter(None, (age, sex)))
    remarkable = {name: value for name, value in manner.items() if value and value not in _UNREMARKABLE}
    named = (f"{value} {name}" if name in _OF_DEGREE else value for name, value in remarkable.items())
    return (*filter(None, [person]), *named)
