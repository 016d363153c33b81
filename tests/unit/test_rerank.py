"""Reranking: the order is that of the cosines, each clip is embedded once, what is bad is named."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
from transformers import BertModel

from conftest import RATE, make_tokenizer, tiny_bert_config, tone
from modeling_raclap import EcapaTdnnConfig, EcapaTdnnModel, RaClapFeatureExtractor, RaClapModel, RaClapProcessor
from modeling_raclap.calibration_raclap import Calibration
from raclap.errors import AudioError
from raclap.retrieval import rerank
from raclap.retrieval.rerank import Request, Reranker, RerankError, rank_candidates

CALIBRATION = Calibration(slope=5.0, intercept=-1.0, quantiles=tuple(np.linspace(-1, 1, 101).tolist()))


@pytest.fixture(scope="module")
def parts() -> tuple[RaClapModel, RaClapProcessor]:
    torch.manual_seed(0)
    speech = EcapaTdnnModel(EcapaTdnnConfig(channels=16, mfa_channels=24, hidden_size=8))
    model = RaClapModel.from_speech_text_pretrained(speech, BertModel(tiny_bert_config()), projection_dim=16)
    model.config.calibration = CALIBRATION.to_dict()
    return model, RaClapProcessor(RaClapFeatureExtractor(features="log_mel"), make_tokenizer())


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Path]:
    folder, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    paths = [folder / f"{index}.wav" for index in range(6)]
    for index, path in enumerate(paths):
        soundfile.write(path, tone(100.0 + 60 * index, 0.05 + 0.05 * index, 0.3 + 0.1 * (index % 3), rng), RATE)
    return paths


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.mark.parametrize(("weight", "by"), [(0.0, "text"), (1.0, "reference"), (0.3, "both")])
def test_order_is_that_of_the_weighted_cosines(weight, by):
    audio, text, reference = unit(20, 8), unit(8, seed=1), unit(8, seed=2)
    scores = rank_candidates(audio, text, reference, weight)
    own, other = (audio @ text).numpy(), (audio @ reference).numpy()
    expected = {"text": own, "reference": other, "both": 0.7 * own + 0.3 * other}[by]
    assert scores.order.tolist() == np.argsort(-expected).tolist()
    np.testing.assert_allclose(scores.score.numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(scores.cosine.numpy(), own, atol=1e-6)
    np.testing.assert_allclose(scores.reference_cosine.numpy(), other, atol=1e-6)


def test_caption_or_reference_alone_decides_whatever_the_weight():
    audio, other = unit(20, 8), unit(8, seed=1)
    by_text, by_clip = rank_candidates(audio, text_embed=other), rank_candidates(audio, reference_embed=other)
    torch.testing.assert_close(by_text.score, audio @ other)
    torch.testing.assert_close(by_clip.score, audio @ other)
    assert by_text.reference_cosine is None and by_clip.cosine is None


def test_of_equal_clips_the_earlier_comes_first():
    audio = unit(3, 8)[[0, 1, 0, 1, 0]]
    order = rank_candidates(audio, unit(8, seed=1)).order.tolist()
    assert order in ([0, 2, 4, 1, 3], [1, 3, 0, 2, 4])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.empty(0, 8), unit(8)), "no clips to rank"),
        ((unit(2, 8),), "nothing to rank by"),
        ((unit(2, 8), unit(8), unit(8), 1.5), "weight 1.5; expected a number from 0"),
        ((unit(2, 8), unit(8), unit(8), float("nan")), "weight nan"),
        ((unit(2, 8) * float("nan"), unit(8)), "not finite"),
    ],
)
def test_what_cannot_be_ranked_is_said(arguments, message):
    with pytest.raises(RerankError, match=message):
        rank_candidates(*arguments)


def test_files_are_ranked_as_the_model_compares_them(parts, clips):
    model, processor = parts
    requests = [
        Request(tuple(clips), "a low voice"),
        Request(tuple(clips[:3]), "a loud voice", reference=clips[5], name="second"),
        Request((clips[4],), reference=clips[0]),
    ]
    rankings, bad = Reranker(model, processor).rank(requests, reference_weight=0.25)
    assert bad == {}
    with torch.inference_mode():
        audio = torch.cat([model.get_audio_features(**processor(audio=clip)).pooler_output for clip in clips])
        text = model.get_text_features(**processor(text=["a low voice", "a loud voice"])).pooler_output
    first = rankings[0].clips
    cosines = audio @ text[0]
    assert [ranked.clip for ranked in first] == [str(clips[place]) for place in cosines.argsort(descending=True)]
    assert [ranked.rank for ranked in first] == [1, 2, 3, 4, 5, 6]
    assert [ranked.cosine for ranked in first] == pytest.approx(
        cosines.sort(descending=True).values.tolist(), abs=1e-5
    )
    for ranked in first:
        assert ranked.probability == pytest.approx(CALIBRATION.probability(ranked.cosine).item(), abs=1e-6)
        assert ranked.percentile == pytest.approx(CALIBRATION.percentile(ranked.cosine).item(), abs=1e-3)
    scores = 0.75 * audio[:3] @ text[1] + 0.25 * audio[:3] @ audio[5]
    assert [r.score for r in rankings[1].clips] == pytest.approx(
        scores.sort(descending=True).values.tolist(), abs=1e-5
    )
    alone = rankings[2].best
    assert alone.clip == str(clips[4]) and alone.cosine is None and alone.probability is None
    assert rankings[1].to_json(top=1, root=clips[0].parent) == {
        "id": "second", "prompt": "a loud voice", "reference": "5.wav", "best": f"{scores.argmax().item()}.wav",
        "ranking": [{**rankings[1].best.to_json(), "clip": f"{scores.argmax().item()}.wav"}],
    }  # fmt: skip


def test_each_clip_and_each_caption_is_embedded_once(parts, clips, monkeypatch):
    waveforms, texts = [], []
    embed_waveforms, embed_text = rerank.embed_waveforms, rerank.embed_text
    monkeypatch.setattr(rerank, "embed_waveforms", lambda *a: waveforms.extend(a[2]) or embed_waveforms(*a))
    monkeypatch.setattr(rerank, "embed_text", lambda *a: texts.extend(a[2]) or embed_text(*a))
    requests = [Request(tuple(clips), text, clips[0]) for text in ("a low voice", "a high voice", "a low voice")]
    Reranker(*parts).rank(requests, progress=False)
    assert len(waveforms) == len(clips) and texts == ["a low voice", "a high voice"]


def test_waveforms_at_hand_are_embedded_as_files_are(parts, clips):
    reranker = Reranker(*parts)
    embeds, _ = reranker.embed_files(clips[:2], progress=False)
    waveforms = [soundfile.read(clip, dtype="float32")[0] for clip in clips[:2]]
    at_hand = reranker.embed_waveforms(waveforms, RATE)
    torch.testing.assert_close(at_hand, torch.stack(list(embeds.values())), rtol=1e-4, atol=1e-5)


def test_a_model_without_calibration_ranks_all_the_same(parts, clips, monkeypatch):
    model, processor = parts
    monkeypatch.setattr(model.config, "calibration", None)
    (ranking,), _ = Reranker(model, processor).rank([Request(tuple(clips), "a low voice")], progress=False)
    assert set(ranking.best.to_json()) == {"rank", "clip", "score", "cosine"}


def write_bad(folder: Path) -> dict[str, Path]:
    paths = {name: folder / f"{name}.wav" for name in ("text", "empty", "silent", "blip")}
    paths["text"].write_text("no audio")
    paths["empty"].touch()
    soundfile.write(paths["silent"], np.zeros(RATE), RATE)
    soundfile.write(paths["blip"], np.ones(20) / 2, RATE)
    return {**paths, "absent": folder / "absent.wav", "folder": folder}


BAD = {
    "text": "not a readable audio file",
    "empty": "an empty file",
    "silent": "silence",
    "blip": "shorter than 0.1 s",
    "absent": "no such audio file",
    "folder": "a folder, not an audio file",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_recording_is_named(kind, parts, clips, tmp_path):
    path = write_bad(tmp_path)[kind]
    with pytest.raises(AudioError, match=f"^{path}: .*{BAD[kind]}"):
        Reranker(*parts).rank([Request((clips[0], path), "a low voice")], progress=False)


def test_bad_recordings_are_left_out_and_listed_when_asked(parts, clips, tmp_path):
    bad_paths = write_bad(tmp_path)
    requests = [
        Request((clips[0], *bad_paths.values(), clips[1]), "a low voice"),
        Request((bad_paths["empty"],), "a low voice"),
        Request((clips[0],), reference=bad_paths["silent"]),
    ]
    rankings, bad = Reranker(*parts).rank(requests, skip_bad=True, progress=False)
    assert {ranked.clip for ranked in rankings[0].clips} == {str(clips[0]), str(clips[1])}
    assert set(bad) == {str(path) for path in bad_paths.values()}
    assert all(BAD[kind] in bad[str(path)] for kind, path in bad_paths.items())
    assert rankings[1].best is None and rankings[2].best is None
    assert rankings[1].to_json() == {"prompt": "a low voice", "best": None, "ranking": []}


def test_a_clip_longer_than_the_tower_reads_is_named(parts, clips, monkeypatch):
    monkeypatch.setattr(RaClapFeatureExtractor, "longest_seconds", 0.35)
    with pytest.raises(AudioError, match=r"1\.wav: 0\.40 s, but the speech tower reads at most 0\.35 s"):
        Reranker(*parts).rank([Request(tuple(clips[:2]), "a low voice")], progress=False)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request((), "a low voice"), "no clips to rank for 'a low voice'"),
        (Request(("a.wav",)), "nothing to rank by"),
        (Request(("a.wav",), "  "), "a caption is empty"),
    ],
)
def test_a_request_that_asks_nothing_is_named(request_, message, parts):
    with pytest.raises(RerankError, match=message):
        Reranker(*parts).rank([request_], progress=False)
