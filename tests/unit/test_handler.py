import io
import json
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from conftest import RATE, tone
from modeling_raclap import handler as handler_module
from modeling_raclap import recording_raclap
from modeling_raclap.handler import (
    LIMITS,
    STATUS,
    BadRequestError,
    EndpointFolderError,
    EndpointHandler,
    Limits,
    _LatestTexts,
    _like_lengths,
    _without_id3,
    check_audio_bytes,
    check_candidates,
    check_description,
    check_folder,
)

HOUR = 3_600


def encoded(seconds: float = 1.0, file_format: str = "WAV", subtype: str | None = None, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    samples = tone(200, 0.3, seconds * rate / RATE, np.random.default_rng(0))
    soundfile.write(file, samples, rate, format=file_format, subtype=subtype)
    return file.getvalue()


def muxed(seconds: float, container: str, codec: str, seekable: bool = True) -> bytes:
    """As FFmpeg writes it; to a pipe it cannot come back for the length."""
    av = pytest.importorskip("av")
    file = io.BytesIO()
    target = file if seekable else type("Pipe", (), {"write": file.write})()
    with av.open(target, "w", format=container) as output:
        stream = output.add_stream(codec, rate=48_000, layout="mono")
        samples = tone(200, 0.3, seconds * 3, np.random.default_rng(0))
        for start in range(0, len(samples), 960):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 960], format="fltp", layout="mono")
            frame.rate, frame.pts = 48_000, start
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def flac_that_says(seconds: float) -> bytes:
    """A FLAC file of a second whose header has another number of samples."""
    data = bytearray(encoded(1.0, "FLAC"))
    fields = int.from_bytes(data[18:26], "big")
    data[18:26] = (fields >> 36 << 36 | round(seconds * RATE)).to_bytes(8, "big")
    return bytes(data)


def refusal(call: Callable[[], object]) -> BadRequestError:
    with pytest.raises(BadRequestError) as caught:
        call()
    assert caught.value.status == STATUS[caught.value.kind]
    return caught.value


@pytest.mark.parametrize(
    ("file_format", "subtype"),
    [("WAV", None), ("FLAC", None), ("AIFF", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None), ("AU", None)],
)
def test_length_is_read_from_the_header(file_format, subtype):
    data = encoded(1.5, file_format, subtype)
    assert check_audio_bytes(data) == pytest.approx(1.5, abs=0.1)
    assert refusal(lambda: check_audio_bytes(data, limits=Limits(audio_seconds=1.0))).kind == "audio_too_long"


@pytest.mark.parametrize(
    ("container", "codec", "seekable"),
    [("mp4", "aac", True), ("adts", "aac", True), ("webm", "libopus", True), ("webm", "libopus", False)],
)
def test_length_of_what_telephones_and_browsers_record(container, codec, seekable):
    data = muxed(1.5, container, codec, seekable)
    assert check_audio_bytes(data) == pytest.approx(1.5, abs=0.1)
    assert refusal(lambda: check_audio_bytes(data, limits=Limits(audio_seconds=1.0))).kind == "audio_too_long"


def wav_of_hours() -> bytes:
    """Seven hours of silence, one byte a sample."""
    size = 24 * 2**20
    return encoded(0.1, "WAV", "PCM_U8", rate=1_000)[:40] + size.to_bytes(4, "little") + bytes(size)


def ogg_of_minutes() -> bytes:
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 8_000, 1, format="OGG", subtype="VORBIS") as output:
        for _ in range(300):
            output.write(np.zeros(8_000, np.float32))
    return file.getvalue()


@pytest.mark.parametrize(
    "make",
    [
        lambda: flac_that_says(5 * HOUR),
        wav_of_hours,
        ogg_of_minutes,
        lambda: muxed(70, "mp4", "aac"),
        lambda: muxed(70, "webm", "libopus", seekable=False),
    ],
    ids=["FLAC header", "WAV", "Ogg", "MP4", "WebM without a length"],
)
def test_what_is_too_long_is_refused_at_once(make, monkeypatch):
    data = make()
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("it is decoded"))
    assert len(data) < LIMITS.audio_bytes
    begin, held = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = refusal(lambda: check_audio_bytes(data))
    assert error.kind == "audio_too_long" and time.process_time() - begin < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held < 16 * 1024  # KiB


def test_an_unknown_length_is_counted():
    pytest.importorskip("av")
    assert check_audio_bytes(flac_that_says(0)) == pytest.approx(1.0)
    error = refusal(lambda: check_audio_bytes(flac_that_says(0), limits=Limits(audio_seconds=0.5)))
    assert error.kind == "audio_too_long" and "is longer than 0.5 s" in str(
        error
    )  # not 1.0: it was not counted to the end


def test_ffmpeg_is_let_read_what_the_processor_reads():
    assert handler_module._CONTAINERS == recording_raclap._CONTAINERS
    assert recording_raclap._RATES[1] == handler_module._HIGHEST_RATE


@pytest.mark.parametrize(
    ("claimed", "right"),
    [
        ("audio/wav", "WAV"),
        ("audio/x-wav; rate=16000", "WAV"),
        ("clip.WAV", "WAV"),
        ("audio/flac", "FLAC"),
        (".flac", "FLAC"),
        ("audio/mpeg", "MP3"),
        ("audio/ogg;codecs=opus", "OGG"),
        ("my.voice.ogg", "OGG"),
    ],
)
def test_a_claim_must_be_true(claimed, right):
    check_audio_bytes(encoded(0.5, right), claimed)
    for other in {"WAV", "FLAC", "MP3", "OGG"} - {right}:
        error = refusal(lambda other=other: check_audio_bytes(encoded(0.5, other), claimed))
        assert error.kind == "other_audio_type"


@pytest.mark.parametrize("claimed", [None, "", "audio/whatever", "application/octet-stream", "clip", "clip.bin"])
def test_what_is_not_known_is_no_claim(claimed):
    check_audio_bytes(encoded(0.5), claimed)


@pytest.mark.parametrize("claimed", ["image/png", "text/html", "application/pdf"])
def test_sound_that_is_called_something_else_is_refused(claimed):
    assert refusal(lambda: check_audio_bytes(encoded(0.5), claimed)).kind == "other_audio_type"


def test_a_tag_before_the_sound_is_looked_past():
    tag = b"ID3\x04\x00\x00" + bytes([0, 0, 2, 3]) + bytes(2 * 128 + 3)
    assert _without_id3(tag + b"rest") == b"rest"
    assert check_audio_bytes(tag + encoded(0.5, "MP3"), "audio/mpeg") == pytest.approx(0.5, abs=0.1)
    assert refusal(lambda: check_audio_bytes(tag + encoded(0.5, "MP3"), "a.wav")).kind == "other_audio_type"


def test_a_file_called_wav_that_is_a_picture():
    error = refusal(lambda: check_audio_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500), "clip.wav", name="the upload"))
    assert error.status == 415 and str(error) == "the upload is a PNG image, not audio"


@pytest.mark.parametrize("data", [b"", b"R", b"RIFF", encoded(1.0, "FLAC")[:30], b"ID3", b"\xff\xfb", bytes(2_000)])
def test_scraps_are_refused(data):
    assert refusal(lambda: check_audio_bytes(data)).kind in ("empty_audio", "not_audio", "truncated_audio")


def test_descriptions():
    check_description("a sad old man")
    check_description("悲しい声")
    check_description("a" * LIMITS.text_characters)
    for text, kind in ((None, "wrong_type"), (" \n", "empty_text"), ("a" * 1_001, "text_too_long")):
        assert refusal(lambda text=text: check_description(text)).kind == kind


def test_candidates():
    check_candidates([str(number) for number in range(LIMITS.candidates)])
    check_candidates(("sad", "Sad"))
    for texts, kind in (
        ("sad", "wrong_type"),
        ([], "bad_parameter"),
        ([str(number) for number in range(LIMITS.candidates + 1)], "too_many_candidates"),
        (["sad", " sad"], "duplicate_candidates"),
    ):
        assert refusal(lambda texts=texts: check_candidates(texts)).kind == kind


def test_limits_from_the_environment():
    limits = Limits.from_environment({"RACLAP_LIMIT_AUDIO_SECONDS": "2.5", "RACLAP_LIMIT_CLIPS": "3", "HOME": "x"})
    assert (limits.audio_seconds, limits.clips, limits.texts) == (2.5, 3, LIMITS.texts)
    for variable, text in (("CLIPS", "2.5"), ("CLIPS", "0"), ("AUDIO_SECONDS", "inf"), ("SECONDS", "3")):
        with pytest.raises(ValueError, match=f"RACLAP_LIMIT_{variable}"):
            Limits.from_environment({f"RACLAP_LIMIT_{variable}": text})


def test_batches_are_of_like_length_and_bounded():
    lengths = [int(length) for length in np.random.default_rng(0).integers(1, 60, 50)]
    batches = list(_like_lengths(lengths, 120))
    assert sorted(index for batch in batches for index in batch) == list(range(50))
    assert all(len(batch) * max(lengths[index] for index in batch) <= 120 for batch in batches)
    assert list(_like_lengths([500, 7, 8], 120)) == [[1, 2], [0]]
    assert [lengths[index] for batch in batches for index in batch] == sorted(lengths)


def test_the_latest_texts_are_kept():
    texts = _LatestTexts(2)
    for text in ("a", "b"):
        texts.put(text, torch.ones(1))
    assert texts.get("a") is not None
    texts.put("c", torch.ones(1))
    assert texts.get("b") is None and texts.get("a") is not None and texts.get("c") is not None


@pytest.fixture(scope="module")
def folder(teacher_folder, tmp_path_factory) -> Path:
    return Path(shutil.copytree(teacher_folder, tmp_path_factory.mktemp("served") / "model"))


@pytest.fixture
def copy(folder, tmp_path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "model"))


def edit(path: Path, change: Callable[[dict], None]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    "reference", ["other/name--model.Class", "../model.Class", "ROOT/model.Class", "model", "a.b.C", 3]
)
@pytest.mark.parametrize("place", ["config", "processor", "nested", "tokenizer"])
def test_code_from_elsewhere_is_refused(copy, place, reference):
    for path in (copy.parent / "model.py", copy / "other" / "name--model.py", copy / "a.b.py"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("class Class: pass")
    if isinstance(reference, str):
        reference = reference.replace("ROOT", str(copy.parent))
    name, key = {
        "config": ("config", "AutoModel"),
        "processor": ("processor_config", "AutoProcessor"),
        "nested": ("processor_config", "AutoFeatureExtractor"),
        "tokenizer": ("tokenizer_config", "AutoTokenizer"),
    }[place]

    def change(values: dict) -> None:
        holder = values["feature_extractor"] if place == "nested" else values
        holder.setdefault("auto_map", {})[key] = [None, reference] if place == "tokenizer" else reference

    check_folder(copy)
    edit(copy / f"{name}.json", change)
    with pytest.raises(EndpointFolderError, match=rf"{name}\.json: auto_map names"):
        check_folder(copy)


def test_named_code_must_be_there(copy):
    (copy / "modeling_raclap.py").unlink()
    with pytest.raises(EndpointFolderError, match=r"holds no modeling_raclap\.py"):
        check_folder(copy)


@pytest.mark.parametrize("name", ["config.json", "processor_config.json", "model.safetensors"])
def test_an_incomplete_folder_is_named(copy, name):
    (copy / name).unlink()
    (copy / "pytorch_model.bin").write_bytes(b"weights")
    with pytest.raises(EndpointFolderError, match=f"holds no {name}"):
        EndpointHandler(copy)


@pytest.mark.parametrize("shard", ["model-2.safetensors", "../model.safetensors", "model.bin"])
def test_every_shard_must_be_there(copy, shard):
    (copy / "model.bin").write_bytes(b"weights")
    index = {"weight_map": {"a": "model.safetensors", "b": shard}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(EndpointFolderError, match="holds no "):
        check_folder(copy)


def test_a_broken_configuration_is_named(copy):
    (copy / "config.json").write_text("{")
    with pytest.raises(EndpointFolderError, match=r"config\.json: is no JSON"):
        check_folder(copy)


@pytest.fixture(scope="module")
def load(folder, tmp_path_factory) -> Callable[..., EndpointHandler]:
    """Loads the folder under an environment; copies of its code go to a folder of the test."""

    def loaded(**environment: str) -> EndpointHandler:
        with pytest.MonkeyPatch.context() as patch:
            modules = str(tmp_path_factory.mktemp("modules"))
            patch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", modules)
            patch.syspath_prepend(modules)
            for name, value in environment.items():
                patch.setenv(name, value)
            return EndpointHandler(folder)

    return loaded


@pytest.fixture(scope="module")
def handler(load) -> EndpointHandler:
    return load()


def test_equal_texts_are_embedded_once(handler, monkeypatch):
    embedded = []
    forward = handler._forward

    def counted(modality: str, inputs: dict) -> torch.Tensor:
        rows = forward(modality, inputs)
        embedded.append((modality, len(rows)))
        return rows

    monkeypatch.setattr(handler, "_forward", counted)
    request = {"inputs": encoded(0.5), "parameters": {"descriptions": ["the first voice", "the second voice"]}}
    assert handler(request) == handler(request)
    assert embedded == [("audio", 1), ("text", 2), ("audio", 1)]
    handler({"inputs": ["the second voice", "the third voice", "the third voice"]})
    assert embedded[3:] == [("text", 1)]


def test_a_model_without_calibration_gives_cosines_alone(handler):
    scores = handler({"inputs": encoded(0.5), "parameters": {"descriptions": ["a low voice", "a high voice"]}})
    assert [list(score) for score in scores] == [["label", "cosine"]] * 2
    assert scores[0]["cosine"] >= scores[1]["cosine"]


def test_a_request_is_not_changed(handler):
    request = {"inputs": ["a low voice"], "parameters": {}}
    handler(request)
    assert request == {"inputs": ["a low voice"], "parameters": {}}


@pytest.mark.parametrize("inputs", [encoded(0.5), ["a voice nobody asked for"], [encoded(0.5), encoded(0.6)]])
def test_time_is_looked_at_before_each_stage(handler, monkeypatch, inputs):
    monkeypatch.setattr(handler, "limits", Limits(request_seconds=1e-9))
    with pytest.raises(BadRequestError, match=r"^503 out_of_time: the request took more than 1e-09 s"):
        handler({"inputs": inputs})


def test_time_is_looked_at_between_batches(handler, monkeypatch):
    monkeypatch.setattr(handler_module, "_AUDIO_SECONDS_AT_ONCE", 0.6)
    clock = iter(range(100))
    monkeypatch.setattr(handler_module.time, "monotonic", lambda: next(clock))
    batches = []
    forward = handler._forward
    monkeypatch.setattr(handler, "_forward", lambda *given: batches.append(1) or forward(*given))
    monkeypatch.setattr(handler, "limits", Limits(request_seconds=8))
    # The clock: 0 at the start, to 3 while clips are read, to 6 while decoded, 7 and 8 before two batches, then 9.
    with pytest.raises(BadRequestError, match="out_of_time"):
        handler({"inputs": [encoded(0.5), encoded(0.5), encoded(0.5)]})
    assert len(batches) == 2


def test_an_error_of_ours_tells_nothing_of_the_request(handler, monkeypatch, caplog):
    secret = "a zebra voice"

    def fail(_: str, inputs: dict) -> None:
        raise KeyError(secret, inputs)

    monkeypatch.setattr(handler, "_forward", fail)
    with pytest.raises(RuntimeError, match=r"^500 internal_error: KeyError while answering the request$"):
        handler({"inputs": secret})
    assert "KeyError" in caplog.text and "_embed_texts" in caplog.text and secret not in caplog.text


def test_a_clip_longer_than_the_tower_reads_is_refused(handler, monkeypatch):
    monkeypatch.setattr(type(handler.processor.feature_extractor), "longest_seconds", 0.25)
    with pytest.raises(BadRequestError, match=r"^413 audio_too_long: clip 0 is 0\.5 s long; at most 0\.25 s"):
        handler({"inputs": encoded(0.5)})


def test_limits_of_the_environment_are_kept(load):
    handler = load(RACLAP_LIMIT_TEXTS="1", RACLAP_LIMIT_AUDIO_SECONDS="0.25")
    with pytest.raises(BadRequestError, match=r"at most 1 texts"):
        handler({"inputs": ["a low voice", "a high voice"]})
    with pytest.raises(BadRequestError, match=r"at most 0\.25 s"):
        handler({"inputs": encoded(0.5)})


def test_half_precision(load, handler):
    half = load(RACLAP_DTYPE="bfloat16")
    assert half.model.dtype == torch.bfloat16 and handler.model.dtype == torch.float32
    for inputs in ("a low voice", encoded(0.5)):
        whole_row, half_row = torch.tensor(handler({"inputs": inputs})), torch.tensor(half({"inputs": inputs}))
        assert 0.99 < whole_row @ half_row < 1 and half_row.norm() == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="RACLAP_DTYPE is 'float8'; expected float32 or bfloat16"):
        load(RACLAP_DTYPE="float8")
