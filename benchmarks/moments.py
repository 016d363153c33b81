"""Where the moments of a long recording start and end, against where its styles do.

    python benchmarks/moments.py runs/demo_ra_clap/export ~/.cache/raclap/corpora/prompt_like/manifest.parquet
    python benchmarks/moments.py MODEL MANIFEST --hours 0.3 --seed 1                         a shorter one

Clips of the test rows are laid end to end into stretches of one style, each of 20 to 70 s, until the recording is long
enough; nothing lies on the grid of the windows. Any two styles differ in at least two attributes. Each style is then
searched for twice, by a caption and by a clip that is not in the recording, as many moments as it has stretches.

Prints the largest and the median distance of a start or an end from the truth, in hops, and stretches that no moment
was found for; ends with one line of JSON.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import soundfile

from raclap.archive.indexing import index_archive
from raclap.archive.moments import Moment
from raclap.archive.queries import Query
from raclap.archive.recipe import IndexSettings
from raclap.archive.searching import ArchiveSearch, SearchOptions
from raclap.data.audio import decode
from raclap.data.manifest import Manifest, Pair, read_manifest

RATE = 16_000
SHORTEST, LONGEST = 20.0, 70.0
Stretch = tuple[int, float, float]  # style, start, end


def main() -> None:
    """Builds the recording, indexes it, searches it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="exported model")
    parser.add_argument("manifest", type=Path, help="of a corpus that the model tells the styles of")
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--styles", type=int, default=6)
    parser.add_argument("--window", type=float, default=10.0, help="seconds")
    parser.add_argument("--hop", type=float, default=5.0, help="seconds")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    manifest = read_manifest(arguments.manifest, split="test")
    styles = choose_styles(manifest, arguments.styles, rng)
    with tempfile.TemporaryDirectory() as folder:
        archive, held_out = Path(folder) / "archive", Path(folder)
        archive.mkdir()
        truth = record(archive / "long.flac", manifest, styles, 3600 * arguments.hours, rng)
        index = Path(folder) / "index"
        index_archive(archive, index, arguments.model, IndexSettings(arguments.window, arguments.hop))
        search = ArchiveSearch.open(index)
        distances, missed = [], 0
        for number, pairs in enumerate(styles):
            own = [(start, end) for style, start, end in truth if style == number]
            clip = held_out / f"{number}.flac"
            soundfile.write(clip, decode(manifest.audio_path(pairs[-1]), RATE), RATE)
            for query in (Query(pairs[-1].captions[0].text), Query(like=clip)):
                (found,) = search.search_all([query], SearchOptions(k=len(own)))
                for start, end in own:
                    near = nearest(found, start, end)
                    missed += near is None
                    distances += [] if near is None else [abs(near.start - start), abs(near.end - end)]
    hops = np.array(distances) / arguments.hop
    hours = truth[-1][2] / 3600
    print(f"{len(truth)} stretches of {len(styles)} styles in {hours:.2f} h, {search.index.windows} windows")
    print(f"off by {hops.max():.2f} hops at most, {np.median(hops):.2f} in the middle; {missed} stretches not found")
    over = int((hops > 1).sum())
    figures = {"largest_error_hops": round(float(hops.max()), 3), "over_a_hop": over, "missed": missed}
    print(json.dumps({**figures, "bounds": len(hops)}))


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
        raise SystemExit(
            f"{manifest.path}: {len(chosen)} such styles among its test rows; --styles {count} are too many"
        )
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
