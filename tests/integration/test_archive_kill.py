"""SIGKILL at random moments of indexing: the index opens, holds whole recordings, and the next run completes it."""

import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import RATE, free_port, tone
from raclap.archive.facts import ArchiveError, facts_exist
from raclap.archive.indexing import index_archive
from raclap.archive.recipe import IndexSettings
from raclap.archive.store import ArchiveIndex

RECORDINGS, KILLS = 48, 20
SETTINGS = IndexSettings(window_seconds=0.5, hop_seconds=0.25, commit_seconds=0.0)
PRELOADED = ["lancedb", "conftest", "test_archive_kill"]
Contents = dict[str, list[tuple]]


def write(archive: Path, index: Path, model: Path) -> None:
    """In a process of its own."""
    index_archive(archive, index, model, SETTINGS, progress=False)


def write_as_one_of(rank: int, world: int, port: int, archive: Path, index: Path, model: Path) -> None:
    """One process of several."""
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip
    write(archive, index, model)


def write_where_files_stay_small(archive: Path, index: Path, model: Path, told: Path) -> None:
    """As on a full disk: no file may grow beyond a few kilobytes; writes what is said of it."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, 6_000))
    try:
        write(archive, index, model)
    except ArchiveError as error:
        told.write_text(str(error))


def contents(index: Path) -> Contents:
    """The windows of each recording, in order, with their vectors."""
    archive = ArchiveIndex.open(index)
    rows = archive.rows(np.arange(archive.windows)).to_pylist()
    found: Contents = {}
    for row, vector in zip(rows, archive.vectors().astype(np.float32), strict=True):
        place = (row["window"], row["windows"], row["start"], row["end"], row["sha256"], row["mtime_ns"])
        found.setdefault(row["recording"], []).append((*place, vector))
    return {name: sorted(own, key=lambda window: window[0]) for name, own in found.items()}


def is_same(one: list[tuple], other: list[tuple]) -> bool:
    return [own[:-1] for own in one] == [own[:-1] for own in other] and all(
        np.abs(a[-1] - b[-1]).max() < 2e-3 for a, b in zip(one, other, strict=True)
    )


def make_archive(folder: Path) -> None:
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(RECORDINGS):
        sound = tone(rng.uniform(100, 400), 0.3, rng.uniform(0.3, 1.6), rng)
        soundfile.write(folder / f"{number:03d}.flac", sound, RATE)


def change_archive(folder: Path) -> None:
    """A third is renewed, and some are moved, touched, deleted or new."""
    rng = np.random.default_rng(1)
    for number in range(0, RECORDINGS, 3):
        soundfile.write(folder / f"{number:03d}.flac", tone(rng.uniform(100, 400), 0.3, 0.9, rng), RATE)
    (folder / "moved").mkdir()
    for number in range(1, RECORDINGS, 6):
        (folder / f"{number:03d}.flac").rename(folder / "moved" / f"{number:03d}.flac")
    for number in range(2, RECORDINGS, 6):
        os.utime(folder / f"{number:03d}.flac", ns=(number, number))
    for number in range(5, RECORDINGS, 12):
        (folder / f"{number:03d}.flac").unlink()
    for number in range(6):
        soundfile.write(folder / f"new{number}.flac", tone(rng.uniform(100, 400), 0.3, 0.6, rng), RATE)


@pytest.fixture(scope="module")
def processes() -> Iterator[ForkServerContext]:
    """Processes that are forked from one that has imported everything."""
    here = Path(__file__).parent
    former = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, (here, here.parent, *filter(None, [former]))))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    yield context
    if former is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = former


def start(context: ForkServerContext, work: Callable, *arguments: object) -> ForkServerProcess:
    process = context.Process(target=work, args=arguments)
    process.start()
    return process


def finish(*processes: ForkServerProcess) -> None:
    for process in processes:
        process.join(60)
        assert process.exitcode == 0


def test_killed_at_any_moment(processes: ForkServerContext, teacher_folder: Path, tmp_path: Path) -> None:
    archive, afresh, former, renewed = (tmp_path / name for name in ("archive", "afresh", "former", "renewed"))
    make_archive(archive)
    finish(start(processes, write, archive, former, teacher_folder))  # also starts the server
    unchanged = contents(former)
    change_archive(archive)
    began = time.monotonic()
    finish(start(processes, write, archive, afresh, teacher_folder))
    lasts = time.monotonic() - began
    expected = contents(afresh)
    assert 2 * len(expected) > RECORDINGS and expected.keys() != unchanged.keys()
    moments = random.Random(time.time_ns())
    cut_off, partly = 0, 0
    for number in range(KILLS):
        index = renewed if number % 2 else tmp_path / "new"
        shutil.rmtree(index, ignore_errors=True)
        if number % 2:
            shutil.copytree(former, index)
        killed = start(processes, write, archive, index, teacher_folder)
        moment = moments.uniform(0.05, lasts)
        time.sleep(moment)
        killed.kill()
        killed.join()
        cut_off += killed.exitcode == -signal.SIGKILL
        if killed.exitcode == 0:  # the machine is quicker now than it was
            lasts = moment
        found = contents(index) if facts_exist(index) else {}
        partly += not (found.keys() == expected.keys() or found.keys() in (set(), unchanged.keys()))
        for name, windows in found.items():
            assert [window[0] for window in windows] == list(range(windows[0][1])), f"{name} is not whole"
            allowed = [held[name] for held in (expected, unchanged if number % 2 else {}) if name in held]
            assert any(is_same(windows, own) for own in allowed), f"{name} is neither as it was nor as it is"
        if number % 2:
            assert expected.keys() & unchanged.keys() <= found.keys(), "what is renewed was lost meanwhile"
        finish(start(processes, write, archive, index, teacher_folder))
        completed = contents(index)
        assert completed.keys() == expected.keys()
        assert all(is_same(completed[name], windows) for name, windows in expected.items())
    assert cut_off >= KILLS / 2 and partly, json.dumps({"killed": cut_off, "killed while it wrote": partly})


def test_a_full_disk_is_told_and_the_index_survives(
    processes: ForkServerContext, teacher_folder: Path, tmp_path: Path
) -> None:
    archive, index, told = (tmp_path / name for name in ("archive", "index", "told"))
    make_archive(archive)
    finish(start(processes, write, archive, index, teacher_folder))
    before = contents(index)
    for number in range(RECORDINGS):
        (archive / f"{number:03d}.flac").rename(archive / f"{'renamed ' * 20}{number:03d}.flac")
    soundfile.write(archive / "new.wav", tone(200, 0.3, 40.0, np.random.default_rng(0)), RATE)
    finish(start(processes, write_where_files_stay_small, archive, index, teacher_folder, told))
    assert "cannot be written" in told.read_text() and "\n" not in told.read_text()
    found = contents(index)
    assert all([window[0] for window in windows] == list(range(windows[0][1])) for windows in found.values())
    numbers = [name.removesuffix(".flac")[-3:] for name in found if name != "new.wav"]
    assert sorted(numbers) == sorted(name.removesuffix(".flac") for name in before)
    finish(start(processes, write, archive, index, teacher_folder))
    assert len(contents(index)) == RECORDINGS + 1


def test_two_processes_share_an_archive(processes: ForkServerContext, teacher_folder: Path, tmp_path: Path) -> None:
    archive, alone, shared = (tmp_path / name for name in ("archive", "alone", "shared"))
    make_archive(archive)

    def share() -> None:
        port = free_port()
        finish(*(
            start(processes, write_as_one_of, rank, 2, port, archive, shared, teacher_folder) for rank in range(2)
        ))  # fmt: skip

    share()
    change_archive(archive)
    (archive / "broken.wav").write_text("no sound")
    share()
    finish(start(processes, write, archive, alone, teacher_folder))
    one, two = contents(alone), contents(shared)
    assert one.keys() == two.keys() and all(is_same(own, two[name]) for name, own in one.items())
    assert (shared / "unreadable.jsonl").read_text() == (alone / "unreadable.jsonl").read_text() != ""
