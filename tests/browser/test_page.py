"""The page as people use it: served as a Space runs it, with small random models, and driven in headless Chromium."""

import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import soundfile
import torch

from conftest import PITCHES, RATE, VOLUMES, free_port, tone
from raclap.hub.export import export
from raclap.model_folder import load_model_folder
from raclap.recipe import read_recipe
from raclap.training.towers import build_model

httpx = pytest.importorskip("httpx")
pytest.importorskip("gradio", reason="the page needs gradio: pip install 'raclap[page]'")
playwright = pytest.importorskip("playwright.sync_api", reason="driving a browser needs playwright")

CHROMIUM = os.environ.get("RACLAP_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("no Chromium (install it, or set RACLAP_CHROMIUM)", allow_module_level=True)

from raclap.page.space import write_space  # noqa: E402 - after gradio is known to be there

ROOT = Path(__file__).parents[2]
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-sync", "--disable-component-update", "--autoplay-policy=no-user-gesture-required"),
    *("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"),
]
DESCRIPTIONS = ["a low voice", "a high and loud tone", "the quiet person speaks"]
CALIBRATION = {"slope": 12.0, "intercept": -1.5, "quantiles": [-0.9, -0.2, 0.0, 0.3, 0.9]}
START_SECONDS = 90


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, recipe_file: Path) -> dict[str, Path]:
    """Two models of different weights; the first is calibrated."""
    folders = {}
    for seed, name in enumerate(("calibrated", "plain")):
        torch.manual_seed(seed)
        model, processor = build_model(read_recipe(recipe_file).model)
        model.config.calibration = CALIBRATION if name == "calibrated" else None
        folders[name] = tmp_path_factory.mktemp(name) / "export"
        export(model, processor, folders[name], card="")
    return folders


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tones, and a file that is no audio."""
    folder = tmp_path_factory.mktemp("gallery")
    rng = np.random.default_rng(0)
    for pitch, hertz in PITCHES.items():
        for volume, level in VOLUMES.items():
            for take in range(2):
                soundfile.write(folder / f"{pitch}_{volume}_{take}.flac", tone(hertz, level, 2.0, rng), RATE)
    (folder / "broken.wav").write_bytes(b"RIFF")
    return folder


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, models: dict[str, Path], gallery: Path) -> Iterator[str]:
    """The page, started in a Space's folder without naming models."""
    space = tmp_path_factory.mktemp("served") / "space"
    write_space(space, ROOT, models)
    address = f"http://127.0.0.1:{(port := free_port())}/"
    log = space.with_name("log.txt")
    environment = {**os.environ, "RACLAP_CACHE": str(space.with_name("cache")), "OMP_NUM_THREADS": "1"}
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "app.py", "--gallery", gallery, "--port", str(port)], cwd=space, stdout=stream,
            stderr=subprocess.STDOUT, env={**environment, "RACLAP_MODELS": ""},
        )  # fmt: skip
    limit = time.monotonic() + START_SECONDS
    while f"the page is at {address}" not in log.read_text():
        assert process.poll() is None and time.monotonic() < limit, log.read_text()
        time.sleep(0.1)
    assert "left out" in log.read_text() and "broken.wav" in log.read_text()
    yield address
    process.terminate()
    process.wait(20)
    # Gradio logs that a path outside of its uploads was asked for; nothing else may have gone wrong.
    assert log.read_text().count("Traceback") == log.read_text().count("it was not uploaded by a user")


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS, headless=True)
        yield chromium
        chromium.close()


class Watched:
    """A tab, with what it asked for and complained of."""

    def __init__(self, browser, address: str):
        self.tab = browser.new_page()
        self.tab.set_default_timeout(15_000)
        self.hosts: set[str] = set()
        self.complaints: list[str] = []
        self.tab.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        self.tab.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.goto(address)
        self.tab.get_by_role("tab", name="Judge a clip").wait_for()


@pytest.fixture
def watched(browser, address: str) -> Iterator[Watched]:
    """The page in a tab of its own; it may ask no other host."""
    found = Watched(browser, address)
    yield found
    found.tab.close()
    assert found.hosts - {""} == {urlsplit(address).netloc}


@pytest.fixture
def client(address: str) -> Iterator[object]:
    with httpx.Client(base_url=address, timeout=30, trust_env=False) as client:
        yield client


def wav(samples: np.ndarray, rate: int = RATE, form: str = "WAV", subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form, subtype=subtype)
    return file.getvalue()


def voice(seconds: float = 1.5) -> np.ndarray:
    return tone(200.0, 0.3, seconds, np.random.default_rng(7))


def expected(folder: Path, clip: bytes, descriptions: list[str]) -> torch.Tensor:
    """(descriptions,) cosines as the model itself gives them."""
    model, processor = load_model_folder(folder)
    with torch.inference_mode():
        audio = model.get_audio_features(**processor(audio=clip)).pooler_output
        text = model.get_text_features(**processor(text=descriptions)).pooler_output
    return (audio @ text.T)[0]


def shown(answer) -> dict[str, tuple[float | None, float]]:
    """Probability and cosine of each row of an answer, by its words."""
    rows = {}
    for row in answer.locator("li").all():
        fit = row.locator(".rc-fit")
        numbers = [fit.get_attribute(f"data-{name}") for name in ("probability", "cosine")]
        rows[row.locator(".rc-words").inner_text()] = tuple(None if n is None else float(n) for n in numbers)
    return rows


def drop(tab, name: str, data: bytes) -> None:
    tab.locator("input[type=file]:not([webkitdirectory])").first.set_input_files(
        {"name": name, "mimeType": "audio/wav", "buffer": data}
    )


def ask(client, name: str, *data) -> str:
    """What the page answers over HTTP, an error as it is sent."""
    event = client.post(f"gradio_api/call/{name}", json={"data": data}).raise_for_status().json()["event_id"]
    lines = client.get(f"gradio_api/call/{name}/{event}").text.splitlines()
    if "event: error" in lines:
        return "\n".join(lines)
    return json.loads(lines[lines.index("event: complete") + 1].removeprefix("data: "))[0]


def upload(client, name: str, data: bytes) -> dict:
    paths = client.post("gradio_api/upload", files={"files": (name, data)}).raise_for_status().json()
    return {"path": paths[0], "meta": {"_type": "gradio.FileData"}}


def test_loads_without_a_complaint(watched: Watched):
    names = [tab.inner_text() for tab in watched.tab.get_by_role("tab").all()]
    assert {"Judge a clip", "Find a voice", "Compare"} <= set(names)
    assert "What is said is not judged" in watched.tab.inner_text("body")
    watched.tab.wait_for_timeout(500)
    assert watched.complaints == []


def test_finds_clips_that_can_be_heard(watched: Watched, models: dict[str, Path], gallery: Path):
    tab = watched.tab
    tab.get_by_role("tab", name="Find a voice").click()
    tab.locator("#find-description textarea").fill("a high voice")
    tab.keyboard.press("Enter")
    answer = tab.locator("#find-answer")
    answer.locator("audio").first.wait_for()
    rows = shown(answer)
    clips = {path.stem: path.read_bytes() for path in gallery.glob("*.flac")}
    cosines = {name: expected(models["calibrated"], clip, ["a high voice"]).item() for name, clip in clips.items()}
    best = sorted(cosines, key=lambda name: -cosines[name])[: len(rows)]
    assert list(rows) == [f"{place} {name}" for place, name in enumerate(best, start=1)]
    assert [cosine for _, cosine in rows.values()] == pytest.approx([cosines[name] for name in best], abs=1e-5)
    played = tab.evaluate(
        """async () => {
            const player = document.querySelector('#find-answer audio');
            await player.play();
            await new Promise(done => setTimeout(done, 400));
            return [player.currentTime, player.duration];
        }"""
    )
    assert played[0] > 0 and played[1] == pytest.approx(2.0, abs=0.05)
    answer.locator(".rc-more").first.click()
    tab.locator("#find-answer h3", has_text=f"More like “{best[0]}”").wait_for()
    assert not any(words.endswith(best[0]) for words in shown(answer))
    assert watched.complaints == []


def test_judges_an_uploaded_clip_as_the_model_does(watched: Watched, models: dict[str, Path]):
    tab, clip = watched.tab, wav(voice())
    tab.get_by_label("Descriptions, one a line").first.fill("\n".join(DESCRIPTIONS))
    drop(tab, "voice.wav", clip)
    answer = tab.locator("#judge-answer")
    answer.locator("li").nth(len(DESCRIPTIONS) - 1).wait_for()
    cosines = expected(models["calibrated"], clip, DESCRIPTIONS)
    model, _ = load_model_folder(models["calibrated"])
    probabilities = dict(zip(DESCRIPTIONS, model.calibration.probability(cosines).tolist(), strict=True))
    rows = shown(answer)
    assert list(rows) == sorted(DESCRIPTIONS, key=lambda text: -probabilities[text])
    assert {text: probability for text, (probability, _) in rows.items()} == pytest.approx(probabilities, abs=1e-5)
    first = answer.locator("li").first
    width = first.locator(".rc-bar").evaluate(
        "bar => bar.getBoundingClientRect().width / bar.parentElement.clientWidth"
    )
    best = max(probabilities.values())
    assert width == pytest.approx(best, abs=0.01)
    assert first.locator(".rc-value").inner_text() == f"{100 * best:.0f} %"
    assert watched.complaints == []


def test_judges_an_example_and_a_recording(watched: Watched):
    tab = watched.tab
    answer = tab.locator("#judge-answer")
    tab.get_by_role("button", name="high_loud_0").first.click()
    answer.locator("li").first.wait_for()
    example = shown(answer)
    tab.get_by_label("Clear").first.click()
    answer.locator(".rc-hint").wait_for()
    tab.get_by_label("Record audio").first.click()
    tab.get_by_role("button", name="Record", exact=True).first.click()
    tab.get_by_role("button", name="Stop", exact=True).first.wait_for()
    tab.wait_for_timeout(1200)
    tab.get_by_role("button", name="Stop", exact=True).first.click()
    answer.locator("li").first.wait_for()
    assert shown(answer).keys() == example.keys() and shown(answer) != example


def test_two_models_side_by_side(watched: Watched, models: dict[str, Path], gallery: Path):
    tab = watched.tab
    tab.get_by_role("tab", name="Compare").click()
    tab.locator("#compare-description textarea").fill("a low voice")
    tab.locator("#compare-find-button").click()
    for name, column in zip(models, ("#compare-one", "#compare-other"), strict=True):
        answer = tab.locator(column)
        answer.locator("audio").first.wait_for()
        assert answer.locator("h3").inner_text() == name
        words, (probability, cosine) = next(iter(shown(answer).items()))
        clip = (gallery / f"{words.split()[1]}.flac").read_bytes()
        assert cosine == pytest.approx(expected(models[name], clip, ["a low voice"]).item(), abs=1e-5)
        assert (probability is None) == (name == "plain")
        assert ("no probability" in answer.inner_text()) == (name == "plain")
    tab.locator("#compare-other .rc-more").first.click()
    tab.locator("#compare-other h3", has_text="More like").wait_for()
    assert tab.locator("#compare-one h3").inner_text() == "calibrated"


def test_a_bad_file_is_a_sentence_and_the_page_goes_on(watched: Watched):
    tab = watched.tab
    drop(tab, "picture.wav", b"\x89PNG\r\n\x1a\n" + bytes(200))
    alert = tab.locator("#judge-answer [role=alert]")
    alert.wait_for()
    assert alert.inner_text() == "The clip is a PNG image, not audio."
    tab.get_by_label("Clear").first.click()
    drop(tab, "voice.wav", wav(voice()))
    tab.locator("#judge-answer li").first.wait_for()
    tab.get_by_role("tab", name="Find a voice").click()
    tab.locator("#find-button").click()
    tab.locator("#find-answer [role=alert]", has_text="The description is empty").wait_for()


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.wav", b"", "empty"),
        ("a.wav", b"certainly no audio " * 20, "no audio file"),
        ("a.wav", wav(np.zeros(RATE)), "silence"),
        ("a.flac", wav(np.full(8000 * 3600 * 2, 0.1, np.float32), 8000, "FLAC"), "at most 60 s"),
        ("a.wav", wav(voice())[:-9000], "cut off"),
        ("a.wav", wav(voice(), form="FLAC"), "said to be WAV, but its bytes are FLAC"),
        ("a.wav", wav(np.full(RATE, np.inf), subtype="FLOAT"), "not finite"),
        ("a.wav", wav(1e30 * voice(), subtype="FLOAT"), "too loud"),
    ],
    ids=["empty", "words", "silent", "hours", "cut", "other_type", "infinite", "overflow"],
)  # fmt: skip
def test_bad_clips(client, name: str, data: bytes, words: str):
    began = time.monotonic()
    answer = ask(client, "judge", "calibrated", upload(client, name, data), "a low voice")
    assert 'role="alert"' in answer and words in answer, answer
    assert time.monotonic() - began < 5
    assert "rc-bar" in ask(client, "find", "calibrated", "a low voice")


@pytest.mark.parametrize(
    ("descriptions", "words"),
    [
        (" \n ", "no description"),
        ("ab" * 5_000, "10,000 characters"),
        ("\n".join(f"voice {n}" for n in range(200)), "200 candidates"),
    ],
    ids=["empty", "long", "many"],
)
def test_bad_descriptions(client, descriptions: str, words: str):
    clip = upload(client, "voice.wav", wav(voice()))
    answer = ask(client, "judge", "calibrated", clip, descriptions)
    assert 'role="alert"' in answer and words in answer, answer
    if words != "200 candidates":
        assert 'role="alert"' in ask(client, "find", "calibrated", descriptions)
    assert "There is no clip yet" in ask(client, "judge", "calibrated", None, "a low voice")


def test_reads_uploads_alone(client, address: str, gallery: Path):
    meta = {"meta": {"_type": "gradio.FileData"}}
    clip = next(gallery.glob("*.flac"))
    assert ask(client, "judge", "calibrated", {"path": str(clip), **meta}, "a low voice").startswith("event: error")
    answer = ask(client, "judge", "calibrated", {"path": f"{address}clips/0", **meta}, "a low voice")
    assert answer.startswith("event: error") and "addresses are not fetched" in answer
    assert client.get(f"gradio_api/file={clip}").status_code in (403, 404)
    assert client.get("clips/0").status_code == 200
    assert client.get("clips/13").status_code == 404
    assert client.get("clips/..%2Fapp.py").status_code == 404
    big = client.post("gradio_api/upload", files={"files": ("big.wav", bytes(26 * 2**20))})
    assert big.status_code == 413
    assert "rc-bar" in ask(client, "find", "calibrated", "a low voice")
