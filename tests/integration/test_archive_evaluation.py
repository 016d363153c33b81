"""`evaluate_retrieval.py --index`: metrics through the store against those of the embeddings it was given."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from conftest import make_corpus
from raclap.archive import evaluation
from raclap.archive.evaluation import IndexOptions, evaluate_through_index
from raclap.archive.facts import ArchiveError
from raclap.archive.indexing import index_archive
from raclap.archive.store import ArchiveIndex
from raclap.data.collection import read_split
from raclap.model_folder import load_model_folder
from raclap.provenance import weights_digests
from raclap.retrieval.embed import embed_pairs
from raclap.retrieval.metrics import rank_found, rank_pairs
from raclap.retrieval.relevance import DIRECTIONS, StyleRelevance

ROOT = Path(__file__).parents[2]
FIELDS = ("instance_rank", "style_rank", "style_average_precision", "normalised_gain")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"), "tones", {"train": 6, "test": 300})


@pytest.fixture(scope="module")
def loaded(teacher_folder):
    return load_model_folder(teacher_folder)


@pytest.fixture(scope="module")
def corpus(manifest, loaded):
    return read_split(manifest, "test", loaded[1].feature_extractor)


def evaluated(loaded, corpus, teacher_folder, folder, approximate=False, weights=None):
    options = IndexOptions(folder, teacher_folder, weights or weights_digests(teacher_folder), approximate)
    return evaluate_through_index(*loaded, corpus, "tiny", "tones", options, resamples=10)


def test_exact_search_gives_the_metrics_of_the_stored_vectors(loaded, corpus, teacher_folder, tmp_path):
    plain, stored = evaluated(loaded, corpus, teacher_folder, tmp_path)
    assert (plain.model, stored.model) == ("tiny", "tiny, index")
    embeds = embed_pairs(*loaded, corpus)
    halves = F.normalize(embeds.audio.half().double(), dim=-1).float()
    expected = rank_pairs(halves, embeds.text, StyleRelevance.from_manifest(corpus.manifest))
    for direction in DIRECTIONS:
        for name in FIELDS:
            found, wanted = (getattr(scores[direction], name) for scores in (stored.scores, expected))
            # Captions of a corpus repeat, and clips nearly do: rounding may part what all but ties.
            assert np.isclose(found, wanted).mean() > 0.99, (direction, name)
    for metric in ("R@1", "R@10", "mAP@10", "nDCG@10", "style_R@10"):
        found, wanted = (e.interval("text_to_audio", metric).value for e in (stored, plain))
        assert abs(found - wanted) < 1, metric


def test_ranks_of_a_search_are_those_of_the_scores_and_what_is_not_found_comes_last():
    generator = torch.Generator().manual_seed(0)
    audio, text = (F.normalize(torch.randn(60, 8, generator=generator), dim=-1) for _ in range(2))
    relevance = StyleRelevance.from_rows([{}] * 60, [None] * 60, [str(row % 7) for row in range(60)])
    whole = rank_pairs(audio, text, relevance).text_to_audio
    scores = text @ audio.T
    found = rank_found(lambda rows: scores[rows], relevance, "text_to_audio")
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))

    best = scores.topk(10).values[:, -1:]
    listed = rank_found(lambda rows: scores.masked_fill(scores < best, -torch.inf)[rows], relevance, "text_to_audio")
    is_listed = whole.instance_rank <= 10
    assert (listed.instance_rank == np.where(is_listed, whole.instance_rank, 60)).all()
    np.testing.assert_allclose(listed.normalised_gain, whole.normalised_gain)
    nothing = rank_found(lambda rows: torch.full((len(rows), 60), -torch.inf), relevance, "text_to_audio")
    assert (nothing.instance_rank == 60).all() and (nothing.style_rank == 60).all()


def test_clips_are_found_again_by_name_and_renewed_when_they_differ(
    loaded, corpus, teacher_folder, tmp_path, monkeypatch
):
    part = corpus.rows(range(40))
    evaluated(loaded, part, teacher_folder, tmp_path)
    path = tmp_path / "tiny" / "tones"
    version = ArchiveIndex.open(path).version
    evaluated(loaded, part, teacher_folder, tmp_path)
    assert ArchiveIndex.open(path).version == version

    more = corpus.rows(range(20, 60))
    (_, expected), (_, found) = (evaluated(loaded, more, teacher_folder, tmp_path / name) for name in ("new", "."))
    assert ArchiveIndex.open(path).windows == 60  # and the 20 others are searched past
    for name in FIELDS:
        np.testing.assert_array_equal(*(getattr(e.scores.text_to_audio, name) for e in (expected, found)))

    turned = embed_pairs(*loaded, part, progress=False)
    turned = replace(turned, audio=turned.audio.flip(0))
    monkeypatch.setattr(evaluation, "embed_pairs", lambda *_: turned)
    evaluated(loaded, part, teacher_folder, tmp_path)
    index = ArchiveIndex.open(path)
    rows = {name: row for row, name in enumerate(index.rows(np.arange(60), ["pair_id"])["pair_id"].to_pylist())}
    held = index.vectors_of([rows[name] for name in part.manifest.column("pair_id")])
    np.testing.assert_array_equal(held, turned.audio.numpy().astype(np.float16))
    with pytest.raises(ArchiveError, match="was made by another model"):
        evaluated(loaded, part, teacher_folder, tmp_path, weights={"model.safetensors": "0"})


def test_an_index_of_raclap_index_is_evaluated_as_it_is(loaded, manifest, corpus, teacher_folder, tmp_path):
    path = tmp_path / "tiny" / "tones"
    index_archive(manifest, path, teacher_folder, progress=False)
    version = ArchiveIndex.open(path).version
    plain, stored = evaluated(loaded, corpus, teacher_folder, tmp_path)
    assert ArchiveIndex.open(path).version == version and ArchiveIndex.open(path).windows == 306
    assert (plain.scores.text_to_audio.instance_rank != stored.scores.text_to_audio.instance_rank).mean() < 0.2


def test_the_script_adds_a_row_a_way_to_its_table(manifest, teacher_folder, tmp_path):
    command = [sys.executable, ROOT / "evaluate_retrieval.py", "--model", f"ra={teacher_folder}", "--resamples", "5"]
    options = ["--index", tmp_path / "indexes", "--approximate", "--output", tmp_path / "results.json"]
    done = subprocess.run(
        [*command, "--manifest", manifest, *options],
        env={**os.environ, "COLUMNS": "80"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results) == ["ra", "ra, index", "ra, IVF-RQ"]
    for direction in DIRECTIONS:
        values = [results[model]["tones"][direction] for model in results]
        assert abs(values[0]["nDCG@10"] - values[1]["nDCG@10"]) < 1
        assert values[2]["R@10"] <= values[1]["R@10"] + 1
    assert all(f" {model}  " in done.stdout for model in results)
    intervals = json.loads((tmp_path / "results.intervals.json").read_text())
    assert list(intervals["models"]) == ["ra"]  # a card takes no figure of an index for one of the model
    refused = subprocess.run(
        [*command, "--manifest", "m", "--approximate"], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2 and "--approximate is for --index" in refused.stderr
