import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from raclap.data.manifest import Caption, Manifest, Pair, read_manifest, write_manifest
from raclap.retrieval.metrics import EmbeddingError
from raclap.retrieval.ordinality import (
    OrderError,
    mmd,
    modality_gap,
    order_labels,
    order_taus,
    rank_order,
    similarity_order,
)
from raclap.retrieval.relevance import DIRECTIONS

NAN = float("nan")


def sign(number: float) -> int:
    return int(number > 0) - int(number < 0)


def naive_tau(x: list[float], y: list[float]) -> float:
    """τ-b from its definition, pair by pair."""
    pairs = [(sign(x[i] - x[j]), sign(y[i] - y[j])) for i, j in itertools.combinations(range(len(x)), 2)]
    agreement = sum(a * b for a, b in pairs)
    return agreement / math.sqrt(sum(a != 0 for a, _ in pairs) * sum(b != 0 for _, b in pairs))


def random_embeds(N: int, D: int = 8, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    audio = torch.randn(N, D, generator=generator)
    text = audio + torch.randn(N, D, generator=generator)
    return F.normalize(audio, dim=1), F.normalize(text, dim=1)


@pytest.mark.parametrize("levels", [3, 1000])
def test_order_agrees_with_the_definition_in_both_directions(levels):
    N = 40
    audio, text = random_embeds(N)
    text = text[torch.arange(N) // 3]  # captions of which several are the same: similarities tie
    rng = np.random.default_rng(1)
    valence, arousal = rng.integers(0, levels, N).astype(float), rng.integers(0, levels, N).astype(float)
    scores = rank_order(audio, text, {"valence": valence, "arousal": arousal})
    distinct, place = torch.unique(text, dim=0, return_inverse=True)
    cosines = (audio @ distinct.T)[:, place].tolist()
    for direction, rows in zip(DIRECTIONS, (cosines, [list(row) for row in zip(*cosines, strict=True)]), strict=True):
        for metric, values in (("tau_valence", valence), ("tau_arousal", arousal)):
            expected = [naive_tau(row, [-abs(v - values[i]) for v in values]) for i, row in enumerate(rows)]
            assert scores[direction].values(metric) == pytest.approx(expected, abs=1e-12)
            assert scores.summary()[direction][metric] == pytest.approx(np.mean(expected))
    both = scores.audio_to_text.values("tau_valence") + scores.audio_to_text.values("tau_arousal")
    assert scores.audio_to_text.values("tau") == pytest.approx(both / 2)


def test_a_model_in_the_order_of_valence_has_one_and_its_mirror_minus_one():
    angle = torch.linspace(0.1, 1.2, 20) ** 2  # uneven: no two lie equally far from a third
    embeds = torch.stack([angle.cos(), angle.sin()], dim=1)
    found = rank_order(embeds, embeds, {"valence": angle.tolist()})
    assert found.summary()["text_to_audio"]["tau_valence"] == pytest.approx(1)
    similarities = (embeds @ embeds.T).numpy()
    assert order_taus(-similarities, angle.numpy(), angle.numpy()) == pytest.approx(-1)


def test_equal_differences_tie_though_they_are_rounded():
    # 0.3 - 0.2 and 0.2 - 0.1 are not the same float: were they told apart, one of the two queries would lose.
    values = np.array([0.1, 0.2, 0.3])
    assert abs(values[0] - values[1]) != abs(values[2] - values[1])
    for similarity in ([0.5, 0.9, 0.4], [0.4, 0.9, 0.5]):
        assert order_taus(np.array([similarity]), values[1:2], values) == pytest.approx(
            naive_tau([1, 2, 1], [1, 3, 2])
        )


# A last tile of one row: its product may round equal columns differently.
@pytest.mark.parametrize(("N", "D"), [(30, 7), (257, 64)])
def test_a_collapsed_model_has_no_order(N, D):
    embeds = F.normalize(torch.randn(1, D, generator=torch.Generator().manual_seed(0)), dim=1).repeat(N, 1)
    found = rank_order(embeds, embeds, {"arousal": list(range(N))})
    assert found.summary()["audio_to_text"] == {"tau_arousal": 0.0}
    assert (found.audio_to_text.values("tau_arousal") == 0).all()
    assert (found.modality_gap, found.mmd) == (0, 0)


def test_rows_without_a_value_are_left_out_of_that_dimension_alone():
    audio, text = random_embeds(30)
    rng = np.random.default_rng(0)
    valence, arousal = rng.random(30), rng.random(30)
    valence[[3, 11]], arousal[:20] = NAN, NAN
    found = rank_order(audio, text, {"valence": valence, "arousal": arousal})
    known = ~np.isnan(valence)
    assert (found.measured("tau_valence") == known).all()
    assert found.measured("tau").sum() == 10
    without = rank_order(audio[known], text[known], {"valence": valence[known]})
    for direction in DIRECTIONS:
        values = found[direction].values("tau_valence")
        assert values[known] == pytest.approx(without[direction].values("tau_valence"))
        assert found.summary()[direction]["tau_valence"] == pytest.approx(values[known].mean())
    samples = found.summary()["samples"]
    assert samples == {"tau_valence": {"unlabelled": 2, "rows": 28}, "tau_arousal": {"unlabelled": 20, "rows": 10}}


def test_rows_are_drawn_by_seed_and_told():
    audio, text = random_embeds(300)
    labels = {"valence": np.random.default_rng(0).random(300)}
    some, again, other = (rank_order(audio, text, labels, max_rows=40, seed=seed) for seed in (1, 1, 2))
    rows = some.measured("tau_valence")
    assert rows.sum() == 40 and some.summary()["samples"]["tau_valence"]["rows"] == 40
    assert (rows == again.measured("tau_valence")).all() and (rows != other.measured("tau_valence")).any()
    alone = rank_order(audio[rows], text[rows], {"valence": labels["valence"][rows]})
    assert some.audio_to_text.values("tau_valence")[rows] == pytest.approx(alone.audio_to_text.values("tau_valence"))


def test_what_was_not_measured_is_named():
    audio, text = random_embeds(5)
    with pytest.raises(ValueError, match="no 'tau_arousal'; there are tau_valence and tau"):
        rank_order(audio, text, {"valence": [1, 2, 3, 4, 5]}).audio_to_text.values("tau_arousal")


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([2.0, 2.0, NAN], OrderError, "valence: no order to measure: rows with a value: 2, and all have 2"),
        ([NAN, NAN, NAN], OrderError, "no row has a value"),
        ([1.0, float("inf"), 2.0], OrderError, "the value of row 1 is infinite"),
        ([1.0, 2.0], EmbeddingError, "equally many"),
    ],
)
def test_labels_without_an_order_are_refused(labels, error, message):
    audio, text = random_embeds(3)
    with pytest.raises(error, match=message):
        rank_order(audio, text, {"valence": labels})


def test_embeddings_that_are_not_finite_are_refused():
    audio, text = random_embeds(3)
    text[1, 0] = NAN
    with pytest.raises(EmbeddingError, match="text embedding of row 1"):
        rank_order(audio, text, {"valence": [1, 2, 3]})
    with pytest.raises(EmbeddingError, match="equally many, at least two"):
        rank_order(audio[:1], audio[:1], {"valence": [1]})


def make_manifest(folder, valence: list[float | None], arousal: list[float | None]) -> Manifest:
    pairs = [
        Pair(f"p{row}", f"{row}.flac", (Caption("a voice"),), "tones", "test", valence=v, arousal=a)
        for row, (v, a) in enumerate(zip(valence, arousal, strict=True))
    ]
    write_manifest(folder / "manifest.parquet", pairs, folder)
    return read_manifest(folder / "manifest.parquet")


def test_a_manifest_gives_the_dimensions_it_has(tmp_path):
    labels = order_labels(make_manifest(tmp_path, [1.0, None, 3.0], [None, None, None]))
    assert list(labels) == ["valence"]
    assert labels["valence"] == pytest.approx([1.0, NAN, 3.0], nan_ok=True)
    assert order_labels(make_manifest(tmp_path, [None, NAN], [None, None])) == {}


def test_a_manifest_without_an_order_is_named_with_its_column(tmp_path):
    with pytest.raises(OrderError, match=r"manifest\.parquet: column 'arousal': no order.* 2, and all have 4"):
        order_labels(make_manifest(tmp_path, [1.0, 2.0, 3.0], [4.0, None, 4.0]))
    with pytest.raises(OrderError, match=r"manifest\.parquet: column 'valence': the value of row p1 is infinite"):
        order_labels(make_manifest(tmp_path, [1.0, math.inf], [4.0, 5.0]))


def test_queries_to_which_all_candidates_are_equally_close_have_no_order():
    taus = similarity_order([[0.1, 0.2], [0.1, 0.2], [0.3, 0.3], [1, 2]], [2.0, 3.0, 3.0, None], [1.0, 3.0])
    assert taus == pytest.approx([NAN, 1, 0, NAN], nan_ok=True)


def test_candidates_without_a_label_change_nothing():
    rows, labels = [[0.9, 0.5, 0.7, 0.1]], [1.0, 2.0, 4.0]
    plain = similarity_order([[0.9, 0.5, 0.1]], [1.0], labels)
    assert similarity_order(rows, [1.0], [1.0, 2.0, None, 4.0]) == pytest.approx(plain)


@pytest.mark.parametrize(
    ("rows", "queries", "candidates", "error"),
    [
        ([[1, 2], [3]], [1, 2], None, EmbeddingError),
        ([[1, NAN], [1, 2]], [1, 2], None, EmbeddingError),
        ([[1, 2]], [1, 2], None, EmbeddingError),
        ([[1, 2]], [1], [3, 3], OrderError),
        ([[1, 2]], [None], [3, 4], OrderError),
        ([[1, 2]], [math.inf], [3, 4], OrderError),
    ],
)
def test_similarities_that_cannot_be_put_in_order_are_refused(rows, queries, candidates, error):
    with pytest.raises(error):
        similarity_order(rows, queries, candidates)


def test_the_gap_is_the_distance_of_the_centroids():
    audio, text = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, -1.0], [-1.0, 0.0]])
    assert modality_gap(audio, text) == pytest.approx(math.sqrt(2))


def test_the_discrepancy_agrees_with_the_definition():
    audio, text = random_embeds(12, seed=3)
    text = text[:9]
    everything = torch.cat([audio, text]).double().tolist()
    apart = sorted(math.dist(a, b) for a, b in itertools.combinations(everything, 2))
    middle = len(apart) // 2
    width = (apart[middle] + apart[~middle]) / 2

    def kernel(a: list[float], b: list[float]) -> float:
        return math.exp(-(math.dist(a, b) ** 2) / (2 * width**2))

    x, y = audio.double().tolist(), text.double().tolist()
    within = sum(kernel(a, b) for a, b in itertools.permutations(x, 2)) / (12 * 11)
    within += sum(kernel(a, b) for a, b in itertools.permutations(y, 2)) / (9 * 8)
    across = sum(kernel(a, b) for a in x for b in y) / (12 * 9)
    assert mmd(audio, text) == pytest.approx(within - 2 * across, abs=1e-10)


def test_the_discrepancy_of_one_distribution_is_none_on_average():
    generator = torch.Generator().manual_seed(0)
    same = [mmd(*torch.randn(2, 20, 4, generator=generator)) for _ in range(200)]
    assert abs(np.mean(same)) < 3 * np.std(same) / math.sqrt(200)
    assert min(same) < 0
    assert mmd(torch.randn(50, 4, generator=generator), 2 + torch.randn(50, 4, generator=generator)) > 0.3
    with pytest.raises(EmbeddingError, match="at least two"):
        mmd(torch.ones(1, 2), torch.ones(3, 2))


def test_the_discrepancy_looks_at_as_many_rows_as_asked():
    audio, text = random_embeds(200)
    assert mmd(audio, text, rows=50, seed=1) == mmd(audio, text, rows=50, seed=1) != mmd(audio, text, rows=50, seed=2)
    assert mmd(audio, text, rows=200) == pytest.approx(mmd(audio, text, rows=500))
