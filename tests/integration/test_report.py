"""`raclap report` on a tiny run: figures, escaping, mistakes of the user, and the page in a browser."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from raclap.cli import main
from raclap.data.collection import read_split
from raclap.data.manifest import read_manifest, write_manifest
from raclap.model_folder import load_model_folder
from raclap.retrieval.embed import embed_pairs
from raclap.retrieval.statistics import bootstrap_interval

ROOT = Path(__file__).parents[2]
EVIL = "</script><script>document.title = 'broken'</script> & <b>\"low\"</b> voice"
CHROMIUM = os.environ.get("RACLAP_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
]  # fmt: skip


class Page(HTMLParser):
    """Tags and their attributes, the words of headed tables, and the text of scripts by id."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str | None, str] = {}
        self.cells: dict[str, str] = {}
        self.text = ""
        self._open: list[tuple[str, dict]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "path", "circle", "line", "rect", "input", "br"):
            self._open.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        if self._open and self._open[-1][0] == "script":
            self.scripts[self._open[-1][1].get("id")] = data
            return
        if self._open and self._open[-1][0] == "style":
            return
        self.text += data
        table = next((own for tag, own in self._open if tag == "table"), {})
        cell = next((own for tag, own in self._open if tag == "td"), {})
        if "data-metric" in cell:
            self.cells[f"{table['data-corpus']} {cell['data-metric']}"] = (
                self.cells.get(f"{table['data-corpus']} {cell['data-metric']}", "") + data + " "
            )


def with_evil_captions(path: Path, folder: Path) -> Path:
    """A copy of a manifest whose captions and names try to leave their place on a page."""
    manifest = read_manifest(path)
    pairs = [
        replace(
            pair, pair_id=f"<img src=x onerror=alert(1)>{pair.pair_id}",
            captions=tuple(replace(caption, text=f"{caption.text} {EVIL}") for caption in pair.captions),
            licence="CC BY-NC 4.0",
        )
        for pair in manifest
    ]  # fmt: skip
    copy = folder / "evil" / "manifest.parquet"
    write_manifest(copy, pairs, manifest.audio_root)
    return copy


@pytest.fixture(scope="module")
def run(tmp_path_factory, recipe_file, corpora) -> Path:
    """A run of two epochs, whose text tower weighs its layers."""
    folder = tmp_path_factory.mktemp("report")
    evil = with_evil_captions(corpora["small"], folder)
    settings = ("model.text_pooling=layer_weighted_mean", f"data.corpora.0.manifest={evil}")
    command = [sys.executable, "train.py", "--recipe", str(recipe_file), "--output", str(folder / "run")]
    done = subprocess.run(
        [*command, *(word for setting in settings for word in ("--set", setting))], cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "run"


def report(monkeypatch, *arguments: Path | str) -> None:
    monkeypatch.setattr(sys, "argv", ["raclap", "report", *map(str, arguments)])
    main()


def refused(monkeypatch, capsys, *arguments: Path | str) -> str:
    """What the command says when it refuses."""
    with pytest.raises(SystemExit) as stopped:
        report(monkeypatch, *arguments)
    assert stopped.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: ")
    return said


@pytest.fixture(scope="module")
def made(run) -> Path:
    """The page of the run, at its usual place."""
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    with pytest.MonkeyPatch.context() as patch:
        report(patch, run, "--resamples", "50", "--worst", "2")
    after = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    page = run / "report.html"
    assert {path: after[path] for path in before} == before
    assert set(after) - set(before) == {page}
    return page


@pytest.fixture(scope="module")
def page(made) -> Page:
    return Page(made)


def figures(page: Page, corpus: str, direction: str, metric: str) -> list[float]:
    return [float(number) for number in re.findall(r"[\d.]+", page.cells[f"{corpus} {direction} {metric}"])]


def test_figures_are_those_of_the_run(page, run):
    epochs = json.loads((run / "metrics.json").read_text())["epochs"]
    best = max(entry["epoch"] for entry in epochs if entry["best"])
    checked = 0
    for corpus, directions in epochs[best]["validation"].items():
        for direction, metrics in directions.items():
            for metric, value in metrics.items():
                if not metric.startswith("style_ceiling"):
                    assert figures(page, corpus, direction, metric)[0] == pytest.approx(value, abs=0.051)
                    checked += 1
    assert checked == 3 * 2 * 8
    assert f"those that the run recorded for epoch {best + 1}" in page.text


def test_figures_and_intervals_are_those_of_ranks_counted_here(page, run, corpora):
    model, processor = load_model_folder(run / "export")
    rows = read_split(corpora["medium"], "validation", processor.feature_extractor)
    embeds = embed_pairs(model, processor, rows, progress=False)
    cosines = embeds.audio @ embeds.text.T
    own = cosines.diagonal().unsqueeze(1)
    hits = 100.0 * ((cosines >= own - 1e-6).sum(1) <= 5).double().numpy()
    interval = bootstrap_interval(hits, rows.manifest.column("speaker"), "mean", 50, 0)
    expected = [interval.value, interval.low, interval.high]
    assert figures(page, "medium", "audio_to_text", "R@5") == pytest.approx(expected, abs=0.051)


def test_the_similarity_on_the_page_is_the_mean_of_cosines(made, run, corpora):
    model, processor = load_model_folder(run / "export")
    rows = read_split(corpora["medium"], "validation", processor.feature_extractor)
    embeds = embed_pairs(model, processor, rows, progress=False)
    keys = rows.manifest.column("style_key")
    table = re.search(r'data-similarity="medium".*?</table>', made.read_text(), re.S)[0]
    shown = sorted(int(cell.replace("−", "-")) for cell in re.findall(r"<td [^>]*>([−\d]+)</td>", table))
    cosines = embeds.audio @ embeds.text.T
    expected = sorted(
        round(100 * cosines[[key == one for key in keys]][:, [key == other for key in keys]].mean().item())
        for one in set(keys)
        for other in set(keys)
    )
    assert len(shown) == len(set(keys)) ** 2
    assert max(abs(a - b) for a, b in zip(shown, expected, strict=True)) <= 1


def test_confusions_count_every_clip_once(made):
    matrices = re.findall(r'data-confusion="([^"]+)".*?<tbody>(.*?)</tbody>', made.read_text(), re.S)
    assert {name for name, _ in matrices} == {
        f"{c} {a}" for c in ("small", "medium", "large") for a in ("pitch", "volume")
    }
    for _, body in matrices:
        assert sum(map(int, re.findall(r"<td [^>]*>(\d+)<small>", body))) == 12


def test_layer_weights_are_those_of_the_model(page, run):
    model, _ = load_model_folder(run / "export")
    alpha = model.layer_weights["text"]
    assert len(alpha) == 3
    assert "α of the text tower" in page.text
    for value in alpha.tolist():
        assert f"{100 * value:.1f}" in page.text


def test_what_is_known_of_the_run_is_on_the_page(page, run):
    model, _ = load_model_folder(run / "export")
    assert f"{torch.exp(-model.log_logit_scale).item():.4f}temperature" in page.text
    assert "Non-commercial use only: trained on small (CC BY-NC 4.0)." in page.text
    assert "steps_per_epoch: 4" in page.text
    assert "50 bootstrap resamples; seed 0" in page.text
    assert f"raclap report {run} --resamples 50" in page.text


def test_the_page_needs_nothing_else(made, page):
    names = {"src", "href", "action", "data", "poster", "srcset", "xlink:href"}
    links = [(tag, value) for tag, own in page.tags for name, value in own.items() if name in names]
    assert links
    for tag, value in links:
        assert value.startswith(("#", "data:")), (tag, value)
    text = made.read_text(encoding="utf-8")
    assert not re.search(r"url\(|@import|https?://|//cdn|fetch\(|XMLHttpRequest|import\(", text)


def test_texts_of_a_corpus_stay_texts(made, page):
    assert [own.get("id") for tag, own in page.tags if tag == "script"] == ["map-data", "sounds", None]
    assert not [own for tag, own in page.tags if tag in ("img", "b") and ("onerror" in own or "src" in own)]
    assert EVIL in page.text
    pairs = json.loads(page.scripts["map-data"])["pairs"]
    assert any(EVIL in pair["caption"] for pair in pairs)
    assert "document.title = 'broken'</script>" not in made.read_text(encoding="utf-8")


def test_the_page_is_written_for_everyone(page):
    tags = [tag for tag, _ in page.tags]
    assert tags.count("h1") == tags.count("main") == tags.count("html") == 1
    levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))
    for tag, own in page.tags:
        if tag == "svg":
            assert own.get("aria-hidden") == "true" or own.get("aria-label")
        if tag == "button" and own.get("class") == "play":
            assert own["aria-label"].startswith("Play")
    ids = [own["id"] for _, own in page.tags if "id" in own]
    assert len(ids) == len(set(ids))
    assert {own["href"][1:] for tag, own in page.tags if tag == "a"} <= set(ids)


def test_the_last_model_the_test_rows_and_no_sound(run, tmp_path, monkeypatch):
    out = tmp_path / "test.html"
    report(monkeypatch, run, out, "--last", "--split", "test", "--no-sound", "--worst", "1", "--resamples", "20")
    page = Page(out)
    assert "Test rows." in page.text
    assert "12 test pairs" in page.text
    assert json.loads(page.scripts["sounds"]) == []
    assert "no clip is in this page" in page.text
    assert "that the run recorded" not in page.text


def test_a_protocol(run, tmp_path, monkeypatch, capsys):
    protocol = tmp_path / "height.yaml"
    protocol.write_text(
        "column: emotion\nclasses: {low: [a low voice], normal: [a normal voice], high: [a high voice]}\n"
    )
    report(
        monkeypatch,
        run,
        tmp_path / "p.html",
        "--protocol",
        protocol,
        "--worst",
        "0",
        "--no-sound",
        "--resamples",
        "20",
    )
    found = re.findall(r'data-confusion="([^"]+)"', (tmp_path / "p.html").read_text())
    assert found == ["small height", "medium height", "large height"]
    protocol.write_text("column: emotion\nclasses: {sad: [a low voice], glad: [a high voice]}\n")
    assert "'emotion' is 'low', which is no class" in refused(
        monkeypatch, capsys, run, tmp_path / "q.html", "--protocol", protocol
    )


def test_bad_input_is_refused_in_one_sentence(run, tmp_path, monkeypatch, capsys):
    refuse = lambda *arguments: refused(monkeypatch, capsys, *arguments)  # noqa: E731
    assert "no such folder" in refuse(tmp_path / "gone")
    assert "expected a name that ends in .html" in refuse(run, tmp_path / "report.pdf")
    assert "no corpus of the run; its corpora are small, medium, large" in refuse(run, "--manifest", "tiny=x.parquet")
    assert "x.parquet: the manifest of 'medium' is no longer there" in refuse(run, "--manifest", "medium=x.parquet")
    assert "its audio is no longer in" in refuse(run, "--audio-root", tmp_path / "nowhere")
    assert "no such audio file" in refuse(run, "--audio-root", tmp_path)
    assert "cannot be read" in refuse(run, "--protocol", tmp_path / "none.yaml")
    empty = tmp_path / "run"
    shutil.copytree(run, empty, ignore=shutil.ignore_patterns("checkpoints", "logs", "report.html"))
    (empty / "export" / "model.safetensors").unlink()
    assert "export: " in refuse(empty)
    assert not (empty / "report.html").exists()


def test_a_run_whose_corpora_are_gone_and_that_logged_nothing(run, tmp_path, monkeypatch, capsys, corpora):
    copy = tmp_path / "run"
    shutil.copytree(
        run,
        copy,
        ignore=shutil.ignore_patterns("checkpoints", "logs", "report.html", "corpora.json", "training_data.json"),
    )
    recipe = (copy / "recipe.yaml").read_text()
    (copy / "recipe.yaml").write_text(recipe.replace(str(corpora["large"]), "/nowhere/manifest.parquet"))
    said = refused(monkeypatch, capsys, copy)
    assert "/nowhere/manifest.parquet: the manifest of 'large' is no longer there; --manifest large=FILE" in said
    report(
        monkeypatch, copy, "--manifest", f"large={corpora['large']}", "--no-sound", "--worst", "0", "--resamples", "20"
    )
    page = Page(copy / "report.html")
    assert "The licence of medium and large is not stated" in page.text
    assert "There are no logs of single steps." in page.text


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (install it, or set RACLAP_CHROMIUM)")
def test_the_page_in_a_browser(made):
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            view = browser.new_page(viewport={"width": 390, "height": 800})
            said, asked = [], []
            view.on("console", lambda message: said.append(message.text))
            view.on("pageerror", lambda error: said.append(str(error)))
            view.on("request", lambda request: asked.append(request.url))
            view.goto(made.as_uri())
            assert view.title() == "tiny: report of a run"
            assert view.evaluate("document.documentElement.scrollWidth") <= 390

            view.locator("#mistakes .play").first.click()
            view.wait_for_function("document.getElementById('player').currentTime > 0.05")
            assert view.evaluate("document.getElementById('player').error") is None
            assert view.evaluate("document.getElementById('player').duration") > 0.2

            before = view.locator("#map circle").first.get_attribute("class")
            legend = view.locator("#keys").inner_text().split()
            assert sorted(legend) == ["high", "low", "normal"]
            view.select_option("#colour", "volume")
            assert sorted(view.locator("#keys").inner_text().split()) == ["loud", "quiet"]
            view.locator("#keys button").first.click()
            shown = view.locator("#map circle:not(.dim)").count()
            assert 0 < shown < view.locator("#map circle").count() == 36
            view.select_option("#colour", "pitch")
            assert view.locator("#map circle").first.get_attribute("class") == before
            view.locator("#map").press("ArrowRight")
            assert "<script>" in view.locator("#told").inner_text()
            assert said == []
            assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        finally:
            browser.close()
