"""Where the moments of long recordings start and end, against where their styles do.

    python benchmarks/moments.py runs/demo_ra_clap/export ~/.cache/raclap/corpora/prompt_like/manifest.parquet
    python benchmarks/moments.py MODEL MANIFEST --recordings 20 --seed 60              twenty, of seeds 60 to 79
    python benchmarks/moments.py MODEL MANIFEST --recordings 20 --split train          what the method is tuned on

Clips of a split are laid end to end into stretches of one style, each of 20 to 70 s, until the recording is long
enough; nothing lies on the grid of the windows. Any two styles differ in at least two attributes. Each style is then
searched for twice, by a caption and by a clip that is not in the recording, as many moments as it has stretches.

Prints for each recording the largest and the median distance of a start or an end from the truth, in hops, stretches
that no moment was found for, changes of style that the cut has lost (none within a hop and a half) and changes that it
has invented; ends with a row of the table in docs/archive.md and one line of JSON for all.
"""

import argparse
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import soundfile

from raclap.archive.indexing import index_archive
from raclap.archive.moments import Moment
from raclap.archive.queries import Query
from raclap.archive.recipe import IndexSettings
from raclap.archive.searching import ArchiveSearch, SearchOptions
from raclap.archive.tracks import Tracks, WindowPlace
from raclap.data.audio import decode
from raclap.data.manifest import Manifest, Pair, read_manifest

RATE = 16_000
SHORTEST, LONGEST = 20.0, 70.0
NEAR_HOPS = 1.5
Stretch = tuple[int, float, float]  # style, start, end


def main() -> None:
    """Measures one recording after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="exported model")
    parser.add_argument("manifest", type=Path, help="of a corpus that the model tells the styles of")
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--styles", type=int, default=6)
    parser.add_argument("--window", type=float, default=10.0, help="seconds")
    parser.add_argument("--hop", type=float, default=5.0, help="seconds")
    parser.add_argument("--seed", type=int, default=0, help="of the first recording")
    parser.add_argument("--recordings", type=int, default=1)
    parser.add_argument("--split", default="test", help="whose rows the recordings are made of (default: test)")
    arguments = parser.parse_args()
    manifest = read_manifest(arguments.manifest, split=arguments.split)
    all_errors, missed, lost, invented = [], 0, 0, 0
    for seed in range(arguments.seed, arguments.seed + arguments.recordings):
        with tempfile.TemporaryDirectory() as folder:
            one = measure(arguments, manifest, np.random.default_rng(seed), Path(folder))
        print(
            f"seed {seed}: {one.stretches} stretches; off by {one.hops.max():.2f} hops at most, "
            f"{np.median(one.hops):.2f} in the middle, {(one.hops > 1).sum()} of {len(one.hops)} over one; "
            f"{one.missed} not found; {one.lost} changes lost, {one.invented} invented",
            flush=True,
        )
        all_errors.append(one.hops)
        missed, lost, invented = missed + one.missed, lost + one.lost, invented + one.invented
    hops = np.concatenate(all_errors)
    figures = {
        "largest_error_hops": round(float(hops.max()), 3),
        "over_a_hop": int((hops > 1).sum()),
        "bounds": len(hops),
        "recordings_within_a_hop": sum(bool((own <= 1).all()) for own in all_errors),
        "missed": missed,
        "changes_lost": lost,
        "changes_invented": invented,
    }
    rows = f"{arguments.split} rows, seeds {arguments.seed} to {arguments.seed + arguments.recordings - 1}"
    cells = (
        f"{rows}, {arguments.window:g} s every {arguments.hop:g} s",
        f"{len(hops):,}",
        f"{hops.max():.2f}",
        f"{figures['over_a_hop']}",
        f"{missed}",
    )
    print("|", " | ".join(cells), "|")
    print(json.dumps(figures))


@dataclass(frozen=True, eq=False)
class Found:
    """What is right and wrong of one recording.

    Attributes:
        stretches: it is made of.
        hops: (2 bounds a found stretch,) distance from the truth.
        missed: stretches that share no time with a moment, over both queries.
        lost, invented: changes of style.
    """

    stretches: int
    hops: np.ndarray
    missed: int
    lost: int
    invented: int


def measure(arguments: argparse.Namespace, manifest: Manifest, rng: np.random.Generator, folder: Path) -> Found:
    """Builds a recording, indexes it, searches it."""
    styles = choose_styles(manifest, arguments.styles, rng)
    archive, path = folder / "archive", folder / "index"
    archive.mkdir()
    truth = record(archive / "long.flac", manifest, styles, 3600 * arguments.hours, rng)
    index_archive(archive, path, arguments.model, IndexSettings(arguments.window, arguments.hop), progress=False)
    search = ArchiveSearch.open(path)
    distances, missed = [], 0
    for number, pairs in enumerate(styles):
        own = [(start, end) for style, start, end in truth if style == number]
        clip = folder / f"{number}.flac"
        soundfile.write(clip, decode(manifest.audio_path(pairs[-1]), RATE), RATE)
        for query in (Query(pairs[-1].captions[0].text), Query(like=clip)):
            (found,) = search.search_all([query], SearchOptions(k=len(own)))
            for start, end in own:
                near = nearest(found, start, end)
                missed += near is None
                distances += [] if near is None else [abs(near.start - start), abs(near.end - end)]
    changes = np.array([start for _, start, _ in truth[1:]])
    away = np.abs(changes[:, None] - cuts_of(search)) / arguments.hop
    lost, invented = (int((away.min(axis=axis) > NEAR_HOPS).sum()) for axis in (1, 0))
    return Found(len(truth), np.array(distances) / arguments.hop, missed, lost, invented)


def cuts_of(search: ArchiveSearch) -> np.ndarray:
    """Where the recording is cut, seconds."""
    place = WindowPlace(
        0, *search.index.rows([0], ["source", "recording"]).to_pylist()[0].values(), 0, search.index.windows
    )
    stretches = Tracks(search.index).around(place).stretches_around(0, None)
    return np.array([stretches.change(stretch) for stretch in range(1, len(stretches))])


def choose_styles(manifest: Manifest, count: int, rng: np.random.Generator) -> list[list[Pair]]:
    """Pairs of so many styles, any two of which differ in at least two attributes."""
    by_style: dict[str, list[Pair]] = {}
    for pair in manifest:
        by_style.setdefault(pair.style_key, []).append(pair)
    chosen: list[str] = []
    for name in rng.permutation(sorted(name for name, pairs in by_style.items() if len(pairs) > 4)):
        if all(len(set(name.split("|")) - set(other.split("|"))) > 1 for other in chosen):
            chosen.append(str(name))
    if len(chosen) < count:
        raise SystemExit(f"{manifest.path}: {len(chosen)} such styles among these rows; --styles {count} are too many")
    return [by_style[name] for name in chosen[:count]]


def record(
    target: Path, manifest: Manifest, styles: list[list[Pair]], seconds: float, rng: np.random.Generator
) -> list[Stretch]:
    """Writes the recording; the last clip of each style is kept out of it."""
    clips = [[decode(manifest.audio_path(pair), RATE) for pair in pairs[:-1]] for pairs in styles]
    truth: list[Stretch] = []
    samples, former = 0, -1
    with soundfile.SoundFile(target, "w", samplerate=RATE, channels=1, subtype="PCM_16") as file:
        while samples < seconds * RATE:
            former = int(rng.choice([style for style in range(len(styles)) if style != former]))
            start, until = samples, samples + rng.uniform(SHORTEST, LONGEST) * RATE
            while samples < until:
                clip = clips[former][rng.integers(len(clips[former]))]
                file.write(clip)
                samples += len(clip)
            truth.append((former, start / RATE, samples / RATE))
    return truth


def nearest(found: list[Moment], start: float, end: float) -> Moment | None:
    """The moment that shares most time with a stretch."""
    shared = [min(moment.end, end) - max(moment.start, start) for moment in found]
    return found[int(np.argmax(shared))] if shared and max(shared) > 0 else None


if __name__ == "__main__":
    main()
