"""Decoding, inspection and examples: only the needed stretch, bad recordings named, chance a function of the draw."""

from contextlib import suppress

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from conftest import RATE, make_corpus, make_tokenizer, tone
from modeling_raclap import RaClapFeatureExtractor, RaClapProcessor
from modeling_raclap.recording_raclap import as_float
from raclap.console import exits_cleanly
from raclap.data.audio import decode, read_header
from raclap.data.augmentation import SpecAugment
from raclap.data.collection import read_split
from raclap.data.dataset import PairCollator, PairDataset
from raclap.data.inspection import inspect_audio
from raclap.data.manifest import Caption, Pair, read_manifest, write_manifest
from raclap.data.sampling import Draw
from raclap.errors import AudioError, ManifestError


def keep_all(waveform: np.ndarray) -> np.ndarray:
    return waveform


@pytest.fixture
def manifest(tmp_path):
    return read_manifest(make_corpus(tmp_path, "tones", {"train": 12}))


@pytest.fixture
def bad_manifest(tmp_path):
    """One good recording and one of each kind of bad one."""
    soundfile.write(tmp_path / "good.wav", tone(200, 0.3, 0.5, np.random.default_rng(0)), RATE)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    soundfile.write(tmp_path / "silent.wav", np.zeros(4000), RATE)
    soundfile.write(tmp_path / "nan.wav", np.full(4000, np.nan, np.float32), RATE, subtype="FLOAT")
    (tmp_path / "text.wav").write_text("these are words")
    names = ("good", "missing", "text", "empty", "silent", "nan")
    pairs = [Pair(name, f"{name}.wav", (Caption("a voice"),), "c", "train") for name in names]
    pairs.append(Pair("outside", "good.wav", (Caption("a voice"),), "c", "train", start=0.2, end=9.0))
    path = tmp_path / "m.parquet"
    write_manifest(path, pairs, tmp_path)
    return read_manifest(path)


def test_a_stretch_is_the_same_as_a_slice_of_the_whole(tmp_path):
    samples = tone(200, 0.3, 1.0, np.random.default_rng(0))
    soundfile.write(tmp_path / "a.flac", samples, RATE)
    whole = decode(tmp_path / "a.flac", RATE)
    np.testing.assert_array_equal(decode(tmp_path / "a.flac", RATE, 0.25, 0.75), whole[4000:12000])
    np.testing.assert_array_equal(decode(tmp_path / "a.flac", RATE, 0.5), whole[8000:])
    np.testing.assert_allclose(whole, samples, atol=2**-15)
    assert read_header(tmp_path / "a.flac") == 1.0


def test_stereo_files_of_other_rates_become_mono_at_the_wanted_rate(tmp_path):
    left = tone(200, 0.3, 1.0, np.random.default_rng(0))
    soundfile.write(tmp_path / "a.wav", np.stack([left, np.zeros_like(left)], 1), 8000, subtype="FLOAT")
    clip = decode(tmp_path / "a.wav", RATE)
    assert clip.shape == (2 * len(left),)
    np.testing.assert_allclose(clip[4000:-4000:2], left[2000:-2000] / 2, atol=1e-2)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("missing", r"missing\.wav: no such audio file"),
        ("text", r"text\.wav: not a readable audio file"),
        ("empty", r"empty\.wav: no samples"),
        ("silent", r"silent\.wav: every sample is zero"),
        ("nan", r"nan\.wav: samples are not finite"),
        ("outside", r"good\.wav: 0\.2 to 9\.0 s is not a stretch of its 0\.50 s"),
    ],
)
def test_every_kind_of_bad_recording_is_named(bad_manifest, row, reason):
    rows = bad_manifest.rows([bad_manifest.column("pair_id").index(row)])
    with pytest.raises(AudioError, match=rf"m\.parquet: row {row}: .*{reason}"):
        inspect_audio(rows, RATE, keep_all, progress=False)


def test_skip_bad_goes_on_and_lists_them(bad_manifest):
    with pytest.raises(AudioError, match=r"row missing: .*and 5 more bad recordings.*--skip-bad"):
        inspect_audio(bad_manifest, RATE, keep_all, progress=False)
    found = inspect_audio(bad_manifest, RATE, keep_all, skip_bad=True, keep=True, progress=False)
    assert found.manifest.column("pair_id") == ["good"]
    assert [skipped.pair_id for skipped in found.skipped] == ["missing", "text", "empty", "silent", "nan", "outside"]
    assert found.seconds.tolist() == [0.5]
    assert len(found.waveform(0)) == RATE // 2


def test_header_check_finds_what_headers_show(bad_manifest):
    found = inspect_audio(bad_manifest, RATE, keep_all, check="header", skip_bad=True, progress=False)
    assert [skipped.pair_id for skipped in found.skipped] == ["missing", "text", "empty", "outside"]


def test_kept_clips_are_those_that_are_decoded(manifest):
    kept = inspect_audio(manifest, RATE, keep_all, keep=True, progress=False)
    read = inspect_audio(manifest, RATE, keep_all, check="none", progress=False)
    for row in range(len(manifest)):
        np.testing.assert_allclose(kept.waveform(row), read.waveform(row), atol=2**-15)


def test_silence_is_trimmed_before_the_crop(tmp_path):
    voiced = tone(200, 0.3, 1.0, np.random.default_rng(0))
    padded = np.concatenate([np.zeros(8000, np.float32), voiced, np.zeros(8000, np.float32)])
    soundfile.write(tmp_path / "a.flac", padded, RATE)
    write_manifest(tmp_path / "m.parquet", [Pair("a", "a.flac", (Caption("x"),), "c", "train")], tmp_path)
    trim = RaClapFeatureExtractor(trim_silence_db=40.0).trim
    corpus = inspect_audio(read_manifest(tmp_path / "m.parquet"), RATE, trim, progress=False)
    crops = [PairDataset([corpus], 0.5)[Draw(0, number)].waveform for number in range(50)]
    assert all(len(crop) == 8000 and np.abs(crop).max() > 0.1 for crop in crops)
    assert np.abs(np.stack(crops)[:, :400]).max(axis=1).min() > 0.01, "no crop begins in silence"


def test_examples_are_a_function_of_the_draw(manifest):
    corpus = inspect_audio(manifest, RATE, keep_all, progress=False)
    dataset, again = PairDataset([corpus], 0.2, seed=1), PairDataset([corpus], 0.2, seed=1)
    one, two = dataset[Draw(3, 40)], again[Draw(3, 40)]
    np.testing.assert_array_equal(one.waveform, two.waveform)
    assert one.caption == two.caption
    assert len(one.waveform) == 3200
    others = [dataset[Draw(3, number)] for number in range(40)]
    assert len({tuple(other.waveform[:5]) for other in others}) > 30
    assert {other.caption for other in others} == {c.text for c in manifest[3].captions}


def test_speed_moves_duration_and_pitch_within_its_bounds(tmp_path):
    time = np.arange(RATE) / RATE
    soundfile.write(tmp_path / "a.flac", 0.5 * np.sin(2 * np.pi * 1000 * time), RATE)
    write_manifest(tmp_path / "m.parquet", [Pair("a", "a.flac", (Caption("x"),), "c", "train")], tmp_path)
    corpus = inspect_audio(read_manifest(tmp_path / "m.parquet"), RATE, keep_all, progress=False)
    played = [PairDataset([corpus], None, speed=0.1)[Draw(0, number)].waveform for number in range(200)]
    factors = {round(RATE / len(clip), 2) for clip in played}
    assert min(factors) == 0.9 and max(factors) == 1.1 and len(factors) > 10
    for clip in played:
        peak = np.abs(np.fft.rfft(clip)).argmax() * RATE / len(clip)
        assert peak == pytest.approx(1000 * RATE / len(clip), rel=2e-3)


def test_rows_are_numbered_through_corpora(tmp_path):
    manifests = [read_manifest(make_corpus(tmp_path, name, {"train": size})) for name, size in (("a", 6), ("bb", 12))]
    dataset = PairDataset([inspect_audio(m, RATE, keep_all, progress=False) for m in manifests], None)
    assert len(dataset) == 18
    for row, manifest, own in ((6, manifests[1], 0), (5, manifests[0], 5)):
        whole = decode(manifest.audio_path(manifest[own]), RATE)
        np.testing.assert_array_equal(as_float(dataset[Draw(row, 0)].waveform), whole)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_nothing_but_the_time(manifest, threads):
    corpus = inspect_audio(manifest, RATE, check="header", progress=False)
    alone, together = (PairDataset([corpus], 0.2, seed=1, speed=0.05, threads=count) for count in (1, threads))
    draws = [Draw(number % 12, number) for number in range(30)]
    for draw, found in zip(draws, together.__getitems__(draws), strict=True):
        np.testing.assert_array_equal(found.waveform, alone[draw].waveform)
        assert found.caption == alone[draw].caption


def test_a_crop_is_read_as_if_the_clip_had_been_cut_from_the_whole(tmp_path):
    """At another rate, trimmed, played faster: read in parts or whole."""
    rng = np.random.default_rng(0)
    voiced = np.concatenate([np.zeros(6000), 0.3 * rng.standard_normal(60_000), np.zeros(9000)])
    soundfile.write(tmp_path / "a.flac", voiced, 24_000)
    write_manifest(tmp_path / "m.parquet", [Pair("a", "a.flac", (Caption("x"),), "c", "train")], tmp_path)
    trim = RaClapFeatureExtractor(trim_silence_db=40.0).trim
    manifest = read_manifest(tmp_path / "m.parquet")
    in_parts = inspect_audio(manifest, RATE, trim, progress=False)
    whole = inspect_audio(manifest, RATE, trim, check="none", progress=False)
    assert in_parts.bounds is not None and whole.bounds is None
    for speed in (0.0, 0.1):
        one, other = (PairDataset([corpus], 0.5, seed=2, speed=speed) for corpus in (in_parts, whole))
        for number in range(20):
            np.testing.assert_allclose(one[Draw(0, number)].waveform, other[Draw(0, number)].waveform, atol=1e-4)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_a_loader_process_names_row_and_file_in_one_line(bad_manifest, capsys, workers):
    corpus = inspect_audio(bad_manifest, RATE, check="none", progress=False)
    row = bad_manifest.column("pair_id").index("nan")
    processor = RaClapProcessor(RaClapFeatureExtractor(), make_tokenizer())
    loader = DataLoader(
        PairDataset([corpus], None), sampler=[Draw(0, 0), Draw(row, 1)], batch_size=1, num_workers=workers,
        collate_fn=PairCollator(processor, flat=True),
    )  # fmt: skip

    @exits_cleanly
    def run() -> None:
        list(loader)

    with suppress(SystemExit):  # pytest.raises would hold on to it, and with it to the loader
        run()
    said = capsys.readouterr().err
    path = bad_manifest.path
    assert said == f"error: {path}: row nan: {path.parent / 'nan.wav'}: samples are not finite (NaN or infinity)\n"


def test_what_is_left_of_a_clip_may_be_too_little(tmp_path):
    samples = np.zeros(RATE)
    samples[8000:8200] = 0.5
    soundfile.write(tmp_path / "a.flac", samples, RATE)
    write_manifest(tmp_path / "m.parquet", [Pair("a", "a.flac", (Caption("x"),), "c", "train")], tmp_path)
    trim = RaClapFeatureExtractor(trim_silence_db=40.0).trim
    with pytest.raises(AudioError, match=r"row a: .*a\.flac: shorter than 0\.1 s without its silent ends"):
        inspect_audio(read_manifest(tmp_path / "m.parquet"), RATE, trim, progress=False)


def test_a_recording_that_changed_since_it_was_checked_is_named(manifest):
    corpus = inspect_audio(manifest, RATE, progress=False)
    path = manifest.audio_path(manifest[4])
    soundfile.write(path, soundfile.read(path)[0][:3000], RATE)
    with pytest.raises(
        AudioError, match=r"row tones-train-4: .*tones-train-4\.flac: shorter than when it was checked"
    ):
        corpus.waveform(4)


def test_collator_pads_and_masks_in_training_only(manifest):
    corpus = inspect_audio(manifest, RATE, keep_all, progress=False)
    dataset = PairDataset([corpus], 0.5)
    examples = [dataset[Draw(row, row)] for row in range(4)]
    processor = RaClapProcessor(RaClapFeatureExtractor(features="log_mel"), make_tokenizer())
    plain = PairCollator(processor)(examples)
    masked = PairCollator(processor, SpecAugment(2, 10, 2, 10), seed=5)(examples)
    again = PairCollator(processor, SpecAugment(2, 10, 2, 10), seed=5)(examples[::-1])
    assert (masked["input_features"] != plain["input_features"]).any()
    torch.testing.assert_close(again["input_features"].flip(0), masked["input_features"])
    changed = masked["input_features"] != plain["input_features"]
    assert (masked["input_features"][changed] == 0).all()
    torch.testing.assert_close(plain["input_ids"], masked["input_ids"])


def test_collator_takes_pooled_captions_in_place_of_tokens(manifest):
    corpus = inspect_audio(manifest, RATE, keep_all, progress=False)
    examples = [PairDataset([corpus], 0.5)[Draw(row, row)] for row in range(3)]
    processor = RaClapProcessor(RaClapFeatureExtractor(), make_tokenizer())
    pooled = {example.caption: torch.full((4,), float(i)) for i, example in enumerate(examples)}
    batch = PairCollator(processor, pooled_captions=pooled)(examples)
    assert "input_ids" not in batch
    assert batch["text_pooled"].tolist() == [pooled[example.caption].tolist() for example in examples]


def test_spec_augment_stays_within_its_bounds():
    rng = np.random.default_rng(0)
    for _ in range(200):
        features = torch.ones(60, 20)
        SpecAugment(time_masks=1, time_mask_frames=30, mel_masks=0)(features, 40, rng)
        blank = (features == 0).all(dim=1)
        assert blank.sum() <= 20 and not blank[40:].any()
        features = torch.ones(60, 20)
        SpecAugment(time_masks=0, mel_masks=1, mel_mask_bins=5)(features, 40, rng)
        assert (features == 0).all(dim=0).sum() <= 5


def test_a_part_of_the_pairs_is_always_the_same_part(corpora):
    class Features:
        sampling_rate, longest_seconds, trim_silence_db = RATE, None, None

    ids = [
        read_split(corpora["large"], "train", Features, pairs=size, check="none").manifest.column("pair_id")
        for size in (20, 20, 30)
    ]
    assert ids[0] == ids[1] and len(set(ids[0])) == 20
    assert set(ids[0]) < set(ids[2]), "a larger part holds the smaller one"
    with pytest.raises(ManifestError, match="asks for 73 pairs, but there are 72"):
        read_split(corpora["large"], "train", Features, pairs=73, check="none")
