"""Views of a synthetic corpus: its clips again, with other captions or fewer rows. Nothing is spoken for them.

They ask how well a model tells what belongs to a speaker (intrinsic: sex, age, pitch, texture) and what belongs to an
utterance (situational: speed, volume, emotion), alone and together, and what becomes of rare tags, after
ParaSpeechCLAP (Diwan et al., 2026, arXiv 2603.28737).

- `craft_like_intrinsic`, `craft_like_situational`: captions name attributes of that kind, one up to all.
- `craft_like_single_intrinsic`, `craft_like_single_situational`: exactly one.
- `craft_like_composed`: one or two of each kind.
- `craft_like_rare`: captions as they were; training rows are thinned until some values are rare.

Captions that name attributes of a kind are plain: they do not quote what is said, as those of the corpus do, since a
model that can find the quoted words need not hear the style. Tags are written with their group, `intrinsic:old`, and
in words that say by themselves what is meant; a value that nobody would remark on is no tag.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from raclap.corpora.synthetic import SPECS, random_named, read_record
from raclap.corpora.synthetic_captions import ATTRIBUTES, PLAIN, describe
from raclap.data.manifest import Caption, Manifest, Pair, read_manifest, write_manifest
from raclap.errors import RaClapError
from raclap.files import replacing_folder, write_json

VERSION = 2  # of everything that decides what a view contains

KINDS = {"intrinsic": ("sex", "age", "pitch", "texture"), "situational": ("speed", "volume", "emotion")}

# Attribute -> value -> tag; values that are missing are unmarked.
TAGS = {
    "sex": {"female": "female", "male": "male"},
    "age": {"child": "childlike", "old": "old"},
    "pitch": {"low": "low-pitched", "high": "high-pitched"},
    "texture": {"whispered": "whispered", "creaky": "creaky", "breathy": "breathy"},
    "speed": {"slow": "slow", "fast": "fast"},
    "volume": {"low": "quiet", "high": "loud"},
    "emotion": {name: name for name in ("happy", "sad", "angry", "fearful", "surprised", "disgusted")},
}

# Attribute -> value -> share of its training clips that the thinned view keeps: about 3 % of what is left.
RARE = {
    "texture": {"whispered": 0.064, "creaky": 0.064},
    "age": {"child": 0.062},
    "emotion": {"fearful": 0.16, "disgusted": 0.16},
}

_CORPUS = "craft_like"
_RECORD = "view.json"


@dataclass(frozen=True, slots=True)
class View:
    """What differs from the corpus.

    Attributes:
        intrinsic, situational: least and most attributes of the kind that a caption names; None: captions stay.
        thinned: whether training rows with values of `RARE` are mostly left out.
    """

    intrinsic: tuple[int, int] | None = None
    situational: tuple[int, int] | None = None
    thinned: bool = False


VIEWS: dict[str, View] = {
    "craft_like_intrinsic": View(intrinsic=(1, 4), situational=(0, 0)),
    "craft_like_situational": View(intrinsic=(0, 0), situational=(1, 3)),
    "craft_like_single_intrinsic": View(intrinsic=(1, 1), situational=(0, 0)),
    "craft_like_single_situational": View(intrinsic=(0, 0), situational=(1, 1)),
    "craft_like_composed": View(intrinsic=(1, 2), situational=(1, 2)),
    "craft_like_rare": View(thinned=True),
}


def build_views(cache: Path) -> dict[str, Path]:
    """Writes the views of `craft_like`, each once for a build of the corpus; those of another build are replaced.

    Args:
        cache: where `synthetic.build` has put the corpus; gets a folder for each view, with `manifest.parquet`.

    Returns:
        The manifests by view.

    Raises:
        RaClapError: the corpus is not there, or a folder in the way is not a view.
    """
    corpus = read_manifest(Path(cache) / _CORPUS / "manifest.parquet")
    digest = hashlib.sha256(corpus.path.read_bytes()).hexdigest()
    manifests = {}
    for name in VIEWS:
        folder = Path(cache) / name
        key = {"view": name, "version": VERSION, "corpus": _CORPUS, "corpus_sha256": digest}
        manifests[name] = folder / "manifest.parquet"
        if read_record(folder / _RECORD) == key and manifests[name].is_file():
            continue
        if folder.exists() and any(folder.iterdir()) and not (folder / _RECORD).is_file():
            raise RaClapError(f"{folder}: is not empty and not a view; choose another cache folder")
        with replacing_folder(folder) as beside:
            rows = rows_of(name, corpus)
            write_manifest(beside / "manifest.parquet", rows, corpus.audio_root, moved_together=True)
            write_json(beside / _RECORD, key)
    return manifests


def rows_of(name: str, corpus: Manifest) -> Iterator[Pair]:
    """The rows of a view, in the order of the corpus; a function of those rows alone.

    Args:
        name: of `VIEWS`.
        corpus: `craft_like`.
    """
    kept = _kept(name, corpus) if VIEWS[name].thinned else None
    for pair in corpus:
        if kept is None or pair.split != "train" or pair.pair_id in kept:
            yield replace(pair, corpus=name, captions=_captions(name, pair), tags=_tags(pair.attributes))


def _tags(attributes: dict[str, str]) -> tuple[str, ...]:
    return tuple(
        f"{kind}:{TAGS[name][value]}"
        for kind, names in KINDS.items()
        for name in names
        if (value := attributes.get(name)) in TAGS[name]
    )


def _kept(name: str, corpus: Manifest) -> set[str]:
    """Training rows that the thinned view keeps.

    Each combination of values loses its own share of rows, the product of those of its values, so that rare values
    of two attributes go together as often as chance has it and their numbers hardly depend on chance.
    """
    cells: dict[tuple[str, ...], list[str]] = {}
    for pair in corpus:
        if pair.split == "train":
            cells.setdefault(tuple(pair.attributes[attribute] for attribute in RARE), []).append(pair.pair_id)
    kept: set[str] = set()
    for values, ids in cells.items():
        share = math.prod(shares.get(value, 1.0) for shares, value in zip(RARE.values(), values, strict=True))
        rng = random_named(name, *values)
        # A part of a row is one with that probability: rounding would leave out what is expected less than half once.
        kept.update(rng.sample(ids, int(share * len(ids) + rng.random())))
    return kept


def _captions(name: str, pair: Pair) -> tuple[Caption, ...]:
    view = VIEWS[name]
    if view.intrinsic is None:
        return pair.captions
    rng = random_named(name, pair.pair_id, pair.transcript)
    captions: dict[str, Caption] = {}
    while len(captions) < SPECS[_CORPUS].captions[pair.split]:
        caption = _caption(view, pair, rng)
        captions[caption.text] = caption
    return tuple(captions.values())


def _caption(view: View, pair: Pair, rng: Random) -> Caption:
    named = set(_some_of(pair, "intrinsic", view.intrinsic, rng))
    named.update(_some_of(pair, "situational", view.situational, rng))
    names = tuple(name for name in ATTRIBUTES if name in named)
    speaks_of_manner = any(name not in ("sex", "age") for name in names)
    template = rng.choice(PLAIN[pair.split][speaks_of_manner])
    return Caption(describe(template, pair.attributes, names, quote="", rng=rng), names)


def _some_of(pair: Pair, kind: str, numbers: tuple[int, int], rng: Random) -> Sequence[str]:
    known = [name for name in KINDS[kind] if name in pair.attributes]
    least, most = numbers
    return rng.sample(known, rng.randint(least, min(most, len(known))))
