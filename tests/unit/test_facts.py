"""What is known of training data: held in memory or streamed, it is the same."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raclap.data.facts import NOT_STATED, CorpusFacts
from raclap.data.inspection import inspect_audio
from raclap.data.manifest import read_manifest, write_manifest
from raclap.data.streaming import stream_split
from raclap.recipe import CorpusRecipe

LICENCES = ("CC BY 4.0", "CC0-1.0")


@pytest.fixture
def stated(corpora, tmp_path) -> Path:
    """The rows of a corpus with licences, languages and speakers; one training row of six has no licence."""
    rows = read_manifest(corpora["small"])
    pairs = [
        replace(
            pair,
            licence=None if row % 6 == 5 else LICENCES[row % 2] if pair.split == "train" else "of other rows",
            language="de" if row % 3 else "en",
            speaker=f"s{row % 5}" if row % 2 else None,
        )
        for row, pair in enumerate(rows)
    ]
    write_manifest(tmp_path / "manifest.parquet", pairs, rows.audio_root)
    return tmp_path / "manifest.parquet"


def test_facts_are_those_of_the_rows(stated):
    corpus = inspect_audio(read_manifest(stated).split("train"), 16_000, progress=False)
    facts = CorpusFacts.of_corpus(corpus)
    assert facts == CorpusFacts(18, facts.hours, 5, ("de", "en"), (*LICENCES, NOT_STATED))
    assert facts.hours == pytest.approx(corpus.seconds.sum() / 3600, abs=1e-4) and facts.hours > 0
    assert CorpusFacts.from_dict(facts.to_dict()) == facts


def test_a_stream_knows_all_but_the_hours(stated):
    read = inspect_audio(read_manifest(stated).split("train"), 16_000, progress=False)
    recipe = CorpusRecipe(name="small", manifest=str(stated), streaming=True)
    streamed = CorpusFacts.of_corpus(stream_split(recipe, "train", 16_000, None))
    assert streamed == replace(CorpusFacts.of_corpus(read), hours=None)


def test_what_no_row_states_is_empty(corpora):
    manifest = read_manifest(corpora["small"]).split("train")
    facts = CorpusFacts.of_corpus(inspect_audio(manifest, 16_000, check="none", progress=False))
    assert facts.licences == () and facts.languages == () and facts.hours is None
    assert facts.speakers == len(np.unique(manifest.column("speaker")))
