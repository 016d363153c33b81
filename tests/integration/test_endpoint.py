"""Every request and every refusal of an endpoint, over HTTP, in a process that has the exported folder alone."""

import base64
import http.client
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import soundfile
import torch
from packaging.requirements import Requirement

from conftest import RATE, tone
from modeling_raclap.handler import LIMITS, STATUS
from raclap.model_folder import load_model_folder

SERVER = Path(__file__).with_name("toolkit_server.py")
PAGE = Path(__file__).parents[2] / "docs" / "endpoint.md"
CALIBRATION = {"slope": 4.0, "intercept": -1.0, "quantiles": [-1.0, 0.0, 1.0]}
TEXTS = ["a low voice", "the person speaks in a high tone", "a loud voice"]
SECRET = "zebra"


def wav(seconds: float, seed: int = 0) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, tone(200, 0.3, seconds, np.random.default_rng(seed)), RATE, format="WAV")
    return file.getvalue()


def coded(data: bytes) -> str:
    return base64.b64encode(data).decode()


CLIPS = [wav(0.5), wav(1.1, 1), wav(0.7, 2)]


@dataclass
class Endpoint:
    """A running endpoint and what its answers are compared with."""

    port: int
    log: Path
    model: Any
    processor: Any

    def post(self, body: bytes, content_type: str, query: str = "") -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("POST", f"/{query}", body, {"content-type": content_type})
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())

    def ask(self, inputs: Any, **parameters: Any) -> Any:
        body = {"inputs": inputs} | ({"parameters": parameters} if parameters else {})
        status, answer = self.post(json.dumps(body).encode(), "application/json")
        assert status == 200, answer
        return answer

    def refusal(self, body: Any, content_type: str = "application/json") -> tuple[int, str, str]:
        """Status and kind as the message begins, and its sentence."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, answer = self.post(data, content_type)
        assert status == 400 and list(answer) == ["error"], answer
        head, _, sentence = answer["error"].partition(": ")
        number, _, kind = head.partition(" ")
        return int(number), kind, sentence

    @torch.no_grad()
    def audio(self, *clips: bytes) -> torch.Tensor:
        rows = [self.model.get_audio_features(**self.processor(audio=clip)).pooler_output for clip in clips]
        return torch.cat(rows)

    @torch.no_grad()
    def text(self, *texts: str) -> torch.Tensor:
        rows = [self.model.get_text_features(**self.processor(text=text)).pooler_output for text in texts]
        return torch.cat(rows)


@pytest.fixture(scope="module")
def folder(teacher_folder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("endpoint") / "model"
    shutil.copytree(teacher_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"calibration": CALIBRATION}))
    return folder


@pytest.fixture(scope="module")
def endpoint(folder) -> Iterator[Endpoint]:
    log = folder.with_name("log.txt")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HOME": str(folder.with_name("home")), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(SERVER), str(folder)]
    with log.open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
    try:
        port = process.stdout.readline()
        assert port, log.read_text()
        yield Endpoint(int(port), log, *load_model_folder(folder))
    finally:
        process.kill()
        process.wait()


def close(answer: Any, expected: torch.Tensor) -> None:
    torch.testing.assert_close(torch.tensor(answer), expected, rtol=0, atol=2e-5)


def test_the_container_is_told_what_to_install(folder):
    lines = (folder / "requirements.txt").read_text().splitlines()
    needed = [Requirement(line) for line in lines if not line.startswith("#")]
    assert {"transformers", "soundfile", "soxr"} <= {requirement.name for requirement in needed}
    assert all(requirement.specifier.contains(version(requirement.name)) for requirement in needed)


def test_texts_and_clips_get_the_embeddings_of_the_model(endpoint):
    close(endpoint.ask(TEXTS[0]), endpoint.text(TEXTS[0])[0])
    close(endpoint.ask(TEXTS), endpoint.text(*TEXTS))
    close(endpoint.ask({"text": TEXTS}), endpoint.text(*TEXTS))
    close(endpoint.ask({"audio": coded(CLIPS[0])}), endpoint.audio(CLIPS[0])[0])
    close(endpoint.ask({"audio": [coded(clip) for clip in CLIPS]}), endpoint.audio(*CLIPS))
    close(endpoint.ask([{"audio": coded(clip)} for clip in CLIPS]), endpoint.audio(*CLIPS))


def test_raw_audio_and_its_candidates_in_the_address(endpoint):
    status, answer = endpoint.post(CLIPS[1], "audio/wav")
    assert status == 200
    close(answer, endpoint.audio(CLIPS[1])[0])
    status, answer = endpoint.post(CLIPS[1], "audio/wav", f"?candidate_labels={quote(','.join(TEXTS))}")
    assert status == 200 and answer == endpoint.ask({"audio": coded(CLIPS[1])}, candidate_labels=TEXTS)
    _, one = endpoint.post(CLIPS[1], "audio/wav", f"?descriptions={quote('a low, loud voice')}")
    assert [score["label"] for score in one] == ["a low, loud voice"]


def test_texts_and_audio_in_one_request(endpoint):
    answer = endpoint.ask({"audio": coded(CLIPS[0]), "text": TEXTS})
    assert set(answer) == {"audio", "text"}
    close(answer["audio"], endpoint.audio(CLIPS[0])[0])
    close(answer["text"], endpoint.text(*TEXTS))
    mixed = endpoint.ask([TEXTS[2], {"audio": coded(CLIPS[2])}, {"text": TEXTS[0]}])
    close(mixed, torch.cat([endpoint.text(TEXTS[2]), endpoint.audio(CLIPS[2]), endpoint.text(TEXTS[0])]))


@pytest.mark.parametrize("named", ["candidate_labels", "descriptions"])
def test_scores_are_the_calibrated_ones_best_first(endpoint, named):
    answer = endpoint.ask([{"audio": coded(clip)} for clip in CLIPS], **{named: TEXTS})
    cosines = endpoint.audio(*CLIPS) @ endpoint.text(*TEXTS).T
    assert len(answer) == len(CLIPS)
    for scores, row in zip(answer, cosines, strict=True):
        assert [score["label"] for score in scores] == [TEXTS[k] for k in row.argsort(descending=True)]
        for score in scores:
            cosine = row[TEXTS.index(score["label"])]
            assert list(score) == ["label", "score", "cosine", "percentile"]
            assert score["cosine"] == pytest.approx(cosine.item(), abs=2e-5)
            assert score["score"] == pytest.approx(torch.sigmoid(4 * cosine - 1).item(), abs=2e-5)
            assert score["percentile"] == pytest.approx(50 * (1 + cosine.item()), abs=0.01)


def test_every_way_to_send_the_same_clip_scores_alike(endpoint):
    labels, template = ["low", "high"], "a {} voice"
    text = coded(CLIPS[0])
    answer = endpoint.ask({"audio": text}, candidate_labels=labels, hypothesis_template=template)
    whole = endpoint.ask({"audio": text}, descriptions=["a low voice", "a high voice"])
    assert [(s["cosine"], f"a {s['label']} voice") for s in answer] == [(s["cosine"], s["label"]) for s in whole]
    wrapped = "\n".join(text[start : start + 76] for start in range(0, len(text), 76))
    for inputs in (text, wrapped, f"data:audio/x-wav;base64,{text}", f"data:;base64,{text}"):
        assert endpoint.ask(inputs, candidate_labels=labels, hypothesis_template=template) == answer
        assert endpoint.ask([inputs], candidate_labels=labels, hypothesis_template=template) == [answer]


def test_the_clients_of_the_hub_can_ask_for_embeddings(endpoint, monkeypatch):
    from huggingface_hub import InferenceClient, constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # loopback alone
    client = InferenceClient(model=f"http://127.0.0.1:{endpoint.port}")
    close(client.feature_extraction(TEXTS[0]), endpoint.text(TEXTS[0])[0])


SILENCE = np.zeros(RATE, np.int16)
HTML = b"<!DOCTYPE html><html><body>not found</body></html>"


def silent() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, SILENCE, RATE, format="WAV")
    return file.getvalue()


def loud() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.full(RATE, 3e38, np.float32), RATE, format="WAV", subtype="FLOAT")
    return file.getvalue()


def audio(data: bytes | str) -> dict[str, Any]:
    return {"inputs": {"audio": coded(data) if isinstance(data, bytes) else data}}


def candidates(*labels: Any, **parameters: Any) -> dict[str, Any]:
    return audio(CLIPS[0]) | {"parameters": {"candidate_labels": list(labels), **parameters}}


BAD_REQUESTS = {
    "no inputs": ({"inputs": None}, "missing_inputs", "no inputs"),
    "empty list": ({"inputs": []}, "missing_inputs", "empty list"),
    "empty object": ({"inputs": {}}, "missing_inputs", "audio or text"),
    "number": ({"inputs": 3}, "wrong_type", "a number"),
    "null in a list": ({"inputs": ["a voice", None]}, "wrong_type", "null"),
    "nested list": ({"inputs": [["a voice"]]}, "wrong_type", "list inside a list"),
    "text that is a number": ({"inputs": {"text": 3}}, "wrong_type", "inputs.text must be a text"),
    "audio that is a number": ({"inputs": {"audio": 3}}, "wrong_type", "inputs.audio must be audio in base64, or"),
    "parameters are a list": ({"inputs": "a voice", "parameters": []}, "wrong_type", "parameters must be an object"),
    "text with candidates": (
        {"inputs": {"text": "a"}, "parameters": {"candidate_labels": ["b"]}}, "wrong_type", "inputs must be audio",
    ),
    "labels are numbers": (candidates(1, 2), "wrong_type", "candidate 0 must be a text"),
    "unknown field": ({"inputs": "a voice", "options": {}}, "unknown_parameter", "'options'"),
    "unknown field of inputs": ({"inputs": {"speech": "x"}}, "unknown_parameter", "'speech'"),
    "unknown parameter": (candidates("a", top_k=3), "unknown_parameter", "'top_k', which is not known; known: cand"),
    "strange parameter": (candidates("a", **{f"{SECRET} {SECRET}": 1}), "unknown_parameter", "strange name"),
    "both kinds of candidates": (candidates("a", descriptions=["b"]), "bad_parameter", "either"),
    "template without a place": (candidates("a", hypothesis_template="a voice"), "bad_parameter", "{}"),
    "no candidates": (candidates(), "bad_parameter", "at least one"),
    "path": (audio("/etc/passwd"), "not_base64", "paths and addresses are not read"),
    "address": (audio("https://example.org/a.wav"), "not_base64", "base64"),
    "data URI that is no base64": (audio("data:audio/wav,abc"), "not_base64", "data URI"),
    "too many bytes": (audio(bytes(26 * 2**20)), "audio_too_large", "26.0 MiB; at most 25 MiB"),
    "too many bytes together": (
        {"inputs": [{"audio": coded(CLIPS[0] + bytes(13 * 2**20))}] * 2}, "audio_too_large", "request has 26.",
    ),
    "too long": (audio(wav(61)), "audio_too_long", "61.0 s long; at most 60 s"),
    "10,000 characters": ({"inputs": "a" * 10_000}, "text_too_long", "10,000 characters; at most 1,000"),
    "long label": (candidates("a" * 10_000), "text_too_long", "candidate 0"),
    "long in its template": (
        candidates("a" * 900, hypothesis_template=f"{'b' * 200} {{}}"), "text_too_long", "within hypothesis_template",
    ),
    "200 candidates": (candidates(*map(str, range(200))), "too_many_candidates", "200 candidates; at most 100"),
    "17 clips": ({"inputs": [{"audio": coded(CLIPS[0])}] * 17}, "too_many_clips", "at most 16"),
    "101 texts": ({"inputs": ["a voice"] * 101}, "too_many_texts", "at most 100"),
    "PDF": (audio(b"%PDF-1.7\n" + bytes(1_000)), "not_audio", "is a PDF document"),
    "web page": (audio(HTML), "not_audio", "is a web page"),
    "PNG": (audio(b"\x89PNG\r\n\x1a\n" + bytes(1_000)), "not_audio", "is a PNG image"),
    "PNG that is called WAV": (
        audio(f"data:audio/wav;base64,{coded(b'%sPNG' % bytes([137]) + bytes(99))}"), "not_audio", "is a PNG image",
    ),
    "bytes of nothing": (audio(bytes(range(256)) * 9), "not_audio", "no audio file that can be read"),
    "WAV that is called MP3": (
        audio(f"data:audio/mpeg;base64,{coded(CLIPS[0])}"), "other_audio_type", "to be MP3, but its bytes are WAV",
    ),
    "WAV that is called an image": (audio(f"data:image/png;base64,{coded(CLIPS[0])}"), "other_audio_type", "no audio"),
    "same candidate twice": (candidates("sad", "glad", "sad "), "duplicate_candidates", "candidate 2 is the same as"),
    "empty audio": (audio(""), "empty_audio", "empty"),
    "empty data URI": (audio("data:audio/wav;base64,"), "empty_audio", "empty"),
    "no samples": (audio(CLIPS[0][:44]), "empty_audio", "no samples"),
    "empty text": ({"inputs": "  "}, "empty_text", "is empty"),
    "empty candidate": (candidates("sad", ""), "empty_text", "candidate 1 is empty"),
    "half a character": ({"inputs": "a \ud800 voice"}, "unreadable_text", "half of a character"),
    "silent": (audio(silent()), "silent_audio", "silence"),
    "truncated": (audio(CLIPS[1][: len(CLIPS[1]) // 2]), "truncated_audio", "cut off"),
    "overflow": (audio(loud()), "unusable_audio", "too loud"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_a_bad_request_is_refused_with_its_kind_and_a_sentence(endpoint, name):
    body, kind, words = BAD_REQUESTS[name]
    status, found, sentence = endpoint.refusal(body)
    assert (found, status) == (kind, STATUS[kind]), sentence
    assert words in sentence and "\n" not in sentence and len(sentence) < 200


def test_raw_uploads_are_refused_alike(endpoint):
    assert endpoint.refusal(b"", "audio/wav")[:2] == (422, "empty_audio")
    assert endpoint.refusal(HTML, "audio/wav")[:2] == (415, "not_audio")
    assert endpoint.refusal(silent(), "audio/flac")[:2] == (422, "silent_audio")


def test_all_kinds_but_those_of_time_are_asked_for_above():
    assert {kind for _, kind, _ in BAD_REQUESTS.values()} == set(STATUS) - {"out_of_time"}


def test_what_was_sent_is_not_in_the_log(endpoint):
    for body in (
        {"inputs": [f"{SECRET} {'a' * 5_000}"]},
        {"inputs": {"audio": f"{SECRET}!"}},
        {"inputs": {"audio": f"data:{SECRET}/{SECRET};base64,{coded(CLIPS[0])}"}},
        candidates(SECRET, SECRET),
        candidates("a", **{f"the {SECRET}": 1}),
    ):
        assert endpoint.refusal(body)
    endpoint.ask(f"a {SECRET} voice")
    log = endpoint.log.read_text()
    assert "duplicate_candidates" in log and SECRET not in log


def test_the_commands_of_the_page_run(endpoint, tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("no curl")
    blocks = re.findall(r"^```text\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    commands = [command for block in blocks for command in block.split("\n\n") if "curl" in command]
    soundfile.write(tmp_path / "clip.flac", *soundfile.read(io.BytesIO(CLIPS[0])))
    environment = {**os.environ, "ENDPOINT": f"http://127.0.0.1:{endpoint.port}/", "HF_TOKEN": "a token"}
    answers = [
        json.loads(
            subprocess.check_output(["bash", "-c", command], cwd=tmp_path, env=environment, stderr=subprocess.PIPE)
        )
        for command in commands
    ]
    texts, clip, in_the_address, as_json = answers
    close(texts, endpoint.text("a sad old man", "a cheerful child"))
    close(clip, endpoint.audio((tmp_path / "clip.flac").read_bytes())[0])
    body = {"audio": coded((tmp_path / "clip.flac").read_bytes())}
    assert in_the_address == endpoint.ask(body, candidate_labels=["sad", "glad"], hypothesis_template="a {} voice")
    assert as_json == endpoint.ask(body, candidate_labels=["a sad old man", "a cheerful child"])


def test_the_page_names_every_error_and_limit():
    page = PAGE.read_text()
    assert {kind: int(status) for status, kind in re.findall(r"^\| (\d+) \| `(\w+)` \|", page, re.MULTILINE)} == STATUS
    limits = {
        name: float(number.replace(",", "")) for name, number in re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", page, re.M)
    }
    assert limits == asdict(LIMITS)


def test_it_answers_after_all_of_that(endpoint):
    close(endpoint.ask(TEXTS[0]), endpoint.text(TEXTS[0])[0])
