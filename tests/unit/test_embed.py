"""Embedding manifests, pooled captions and micro-batches: equal to one clip at a time."""

import numpy as np
import pytest
import torch
from test_modeling import speech_config

from conftest import RATE, make_corpus, make_tokenizer, tiny_bert_config
from modeling_raclap import EcapaTdnnConfig, RaClapConfig, RaClapFeatureExtractor, RaClapModel, RaClapProcessor
from raclap.data.inspection import inspect_audio
from raclap.data.manifest import read_manifest
from raclap.retrieval.embed import embed_audio, embed_pairs, embed_text
from raclap.training.frozen_text import pool_captions
from raclap.training.objectives import ContrastiveObjective


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    manifest = read_manifest(make_corpus(tmp_path_factory.mktemp("embed"), "tones", {"test": 20}))
    return inspect_audio(manifest, RATE, lambda waveform: waveform, progress=False)


def build(audio_config, features: str) -> tuple[RaClapModel, RaClapProcessor]:
    torch.manual_seed(0)
    model = RaClapModel(RaClapConfig(audio_config=audio_config, text_config=tiny_bert_config(), projection_dim=16))
    return model.eval(), RaClapProcessor(RaClapFeatureExtractor(features=features), make_tokenizer())


def test_rows_come_back_in_order_and_as_if_alone(corpus, monkeypatch):
    monkeypatch.setattr("raclap.retrieval.embed._CLIPS", 3)
    model, processor = build(EcapaTdnnConfig(channels=16, mfa_channels=24, hidden_size=8), "log_mel")
    embeds = embed_audio(model, processor, corpus, progress=False)
    with torch.no_grad():
        alone = [
            model.get_audio_features(**processor(audio=corpus.waveform(row), sampling_rate=RATE)).pooler_output
            for row in range(len(corpus.manifest))
        ]
    torch.testing.assert_close(embeds, torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_captions_are_embedded_once_each_and_in_order(monkeypatch):
    monkeypatch.setattr("raclap.retrieval.embed._CAPTIONS", 2)
    model, processor = build(EcapaTdnnConfig(channels=16, mfa_channels=24, hidden_size=8), "log_mel")
    captions = ["a low voice", "it is loud", "a low voice", "the person speaks in a high tone", "a"]
    embeds = embed_text(model, processor, captions)
    assert torch.equal(embeds[0], embeds[2])
    with torch.no_grad():
        alone = torch.cat([model.get_text_features(**processor(text=text)).pooler_output for text in captions])
    torch.testing.assert_close(embeds, alone)


def test_the_mode_of_the_model_is_put_back(corpus):
    model, processor = build(EcapaTdnnConfig(channels=16, mfa_channels=24, hidden_size=8), "log_mel")
    embeds = embed_pairs(model.train(), processor, corpus, progress=False)
    assert model.training and embeds.audio.shape == embeds.text.shape == (20, 16)


def test_pooled_captions_give_the_loss_of_the_captions(corpus):
    model, processor = build(EcapaTdnnConfig(channels=16, mfa_channels=24, hidden_size=8), "log_mel")
    assert pool_captions(model, processor, [corpus]) is None, "a trained tower has to read"
    model.text_model.requires_grad_(False)
    pooled = pool_captions(model, processor, [corpus])
    texts = [row[0]["text"] for row in corpus.manifest.column("captions")][:6]
    audio = processor(audio=[corpus.waveform(row) for row in range(6)], prepared=True)
    read = model(**processor(text=texts), **audio, return_loss=True)
    given = model(text_pooled=torch.stack([pooled[text] for text in texts]), **audio, return_loss=True)
    torch.testing.assert_close(given.loss, read.loss, rtol=1e-4, atol=1e-5)


def test_micro_batches_change_neither_loss_nor_gradient():
    model, processor = build(speech_config(), "waveform")
    rng = np.random.default_rng(0)
    clips = [(0.2 * rng.standard_normal(size)).astype(np.float32) for size in rng.integers(3000, 16_000, 9)]
    texts = ["a low voice", "loud", "it is a high pitched voice with a tone", "a", "the loud person", "in the"] * 2
    batch = dict(processor(text=texts[:9], audio=clips, prepared=True))

    def step(objective: ContrastiveObjective) -> tuple[float, list[torch.Tensor]]:
        model.zero_grad()
        loss = objective(model, batch).value
        loss.backward()
        return loss.item(), [p.grad.clone() for p in model.parameters() if p.grad is not None]

    whole, gradients = step(ContrastiveObjective())
    parts, others = step(ContrastiveObjective(speech_micro_batches=4, text_micro_batches=3))
    assert parts == pytest.approx(whole, abs=1e-6)
    norm = torch.cat([g.flatten() for g in gradients]).norm()
    difference = torch.cat([(a - b).flatten() for a, b in zip(gradients, others, strict=True)]).norm()
    assert difference / norm < 1e-5
