import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from conftest import PITCHES, RATE, tone
from modeling_raclap.handler import BadRequestError
from raclap.errors import RaClapError
from raclap.model_folder import load_model_folder
from raclap.page.answers import Answers
from raclap.page.gallery import GalleryClip
from raclap.page.scoring import PageModel
from raclap.retrieval.rerank import Reranker


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[GalleryClip]:
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    for name, hertz in PITCHES.items():
        soundfile.write(folder / f"{name}.flac", tone(hertz, 0.3, 0.6, rng), RATE)
    (folder / "broken.flac").write_bytes(b"fLaC")
    return [GalleryClip(folder / f"{name}.flac", name) for name in (*PITCHES, "broken")]


def embeds_of(folder: Path, clips: list[GalleryClip], texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """(clips, D) and (texts, D), each embedded alone, as a user of the model would."""
    model, processor = load_model_folder(folder)
    with torch.inference_mode():
        audio = [model.get_audio_features(**processor(audio=clip.path)).pooler_output for clip in clips]
        text = model.get_text_features(**processor(text=texts)).pooler_output
    return torch.cat(audio), text


def test_scores_are_the_models_own(teacher_folder: Path, clips: list[GalleryClip], tmp_path: Path):
    page = PageModel(teacher_folder, clips, tmp_path)
    assert list(page.bad) == [str(clips[-1].path)]
    texts = ["a low voice", "a loud tone"]
    audio, text = embeds_of(teacher_folder, clips[:3], texts)
    cosines = audio @ text.T
    judged = {one.description: one.fit.cosine for one in page.judge(clips[1].path.read_bytes(), texts)}
    assert judged == pytest.approx(dict(zip(texts, cosines[1].tolist(), strict=True)), abs=1e-5)
    found = page.find(texts[0], 2)
    assert [hit.number for hit in found] == cosines[:, 0].argsort(descending=True)[:2].tolist()
    assert found[0].fit.cosine == pytest.approx(cosines[:, 0].max().item(), abs=1e-5)
    assert (found[0].fit.probability is None) == (load_model_folder(teacher_folder)[0].calibration is None)


def test_more_like_a_clip_leaves_it_out_and_names_no_probability(teacher_folder, clips, tmp_path: Path):
    page = PageModel(teacher_folder, clips, tmp_path)
    audio, _ = embeds_of(teacher_folder, clips[:3], ["a voice"])
    clip, hits = page.more_like(0, 5)
    others = audio @ audio[0]
    others[0] = -2
    assert clip == clips[0] and [hit.number for hit in hits] == others.argsort(descending=True)[:2].tolist()
    assert hits[0].fit.probability is None
    with pytest.raises(BadRequestError, match="no clip 3"):
        page.more_like(3, 5)


def test_embeddings_are_kept_by_weights_and_clip(teacher_folder, clips, tmp_path: Path, monkeypatch):
    counts = []
    embed = Reranker.embed_files
    monkeypatch.setattr(
        Reranker, "embed_files", lambda self, paths, **rest: (counts.append(len(paths)), embed(self, paths, **rest))[1]
    )

    def started(folder: Path, gallery: list[GalleryClip]) -> list[int]:
        counts.clear()
        page = PageModel(folder, gallery, tmp_path / "kept")
        audio, text = embeds_of(folder, gallery, ["a voice"])
        best = page.find("a voice", 1)[0]
        assert best.fit.cosine == pytest.approx((audio @ text.T).max().item(), abs=1e-5)
        return counts

    gallery = clips[:3]
    assert started(teacher_folder, gallery) == [3]
    assert started(teacher_folder, gallery) == []
    assert started(teacher_folder, gallery[:2]) == []
    changed = GalleryClip(tmp_path / "changed.flac", "changed")
    soundfile.write(changed.path, tone(300.0, 0.2, 0.5, np.random.default_rng(1)), RATE)
    assert started(teacher_folder, [*gallery, changed]) == [1]
    other = tmp_path / "other"
    shutil.copytree(teacher_folder, other)
    model, _ = load_model_folder(other)
    with torch.no_grad():
        next(model.audio_projection.parameters()).add_(0.1)
    model.save_pretrained(other)
    shutil.copy(teacher_folder / "config.json", other)  # so that weights alone differ
    assert started(other, gallery) == [3]
    for file in (tmp_path / "kept").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    assert started(teacher_folder, gallery) == [3]


def test_a_gallery_without_a_good_clip_is_refused(teacher_folder: Path, clips, tmp_path: Path):
    with pytest.raises(RaClapError, match="no clip of the gallery can be read"):
        PageModel(teacher_folder, clips[-1:], tmp_path)


def test_answers_escape_what_people_wrote(teacher_folder: Path, clips, tmp_path: Path):
    strange = GalleryClip(clips[0].path, '<img src=x onerror="alert(1)">', ("<b>",))
    answers = Answers({"m": PageModel(teacher_folder, [strange], tmp_path)})
    pages = [
        answers.find("m", "a voice"),
        answers.judge("m", str(clips[0].path), "<script>alert(1)</script>"),
        answers.more_like("m", 0),
    ]
    for page in pages:
        assert "<img" not in page and "<script" not in page and "<b>" not in page
    assert "&lt;script&gt;" in pages[1] and "<h3" not in pages[0]


def test_what_is_wrong_is_a_sentence(teacher_folder: Path, clips, tmp_path: Path):
    answers = Answers({"m": PageModel(teacher_folder, clips[:1], tmp_path)})
    assert "The description is empty" in answers.find("m", " ")
    assert "Description 2 has 2,000 characters" in answers.judge("m", None, "a voice\n" + 2_000 * "b")
    assert "There is no clip yet" in answers.judge("m", None, "a voice")
    assert 'role="alert"' in answers.judge("m", str(clips[-1].path), "a voice")
