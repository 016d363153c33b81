"""Queries: the formula by which words and clips are put together, files of queries, and what is refused."""

import json

import numpy as np
import pytest

from raclap.archive.queries import MOST_CHARACTERS, Query, QueryError, check_query, combine, queries_of, read_queries
from raclap.errors import ManifestError


@pytest.fixture(scope="module")
def words():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((4, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return dict(zip(("a man", "calmer", "loud", "clip.wav"), vectors.astype(np.float32), strict=True))


def test_a_text_alone_is_its_own_vector(words):
    np.testing.assert_allclose(combine(Query("a man"), words, {}), words["a man"], atol=1e-6)


def test_more_and_less_are_added_and_taken_away(words):
    query = Query("a man", like="clip.wav", more=("calmer",), less=("loud",))
    base = words["a man"] + words["clip.wav"]
    expected = base / np.linalg.norm(base) + 0.3 * (words["calmer"] - words["loud"])
    found = combine(query, words, words, weight=0.3)
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-6)
    assert found.dtype == np.float32


def test_more_leads_towards_the_word_and_less_away(words):
    plain, more, less = (
        combine(query, words, words) @ words["calmer"]
        for query in (Query("a man"), Query("a man", more=("calmer",)), Query("a man", less=("calmer",)))
    )
    assert less < plain < more


def test_a_query_that_cancels_out(words):
    with pytest.raises(QueryError, match="takes away all that it asks for"):
        combine(Query("a man", less=("a man",)), words, {}, weight=1.0)


def test_damaged_weights(words):
    with pytest.raises(QueryError, match="not finite"):
        combine(Query("a man"), {"a man": np.full(8, np.nan, np.float32)}, {})


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (Query(), "the query has neither words nor a clip"),
        (Query(" "), "the query is empty"),
        (Query("a man", more=("",)), "the query is empty"),
        (Query("a" * 10_000), "the query has 10,000 characters; expected at most 1,000"),
    ],
)
def test_refused(query, message):
    with pytest.raises(QueryError, match=message):
        check_query(query)


def test_the_longest_is_taken():
    check_query(Query("a" * MOST_CHARACTERS))


def test_the_number_of_a_bad_query_is_told():
    with pytest.raises(QueryError, match="query 2 is empty"):
        queries_of(["a man", ""])


def test_queries_of_the_command_line():
    assert queries_of(["a", "b"], "c.wav", ["x"]) == [Query("a", "c.wav", ("x",)), Query("b", "c.wav", ("x",))]
    assert queries_of([], "c.wav") == [Query(None, "c.wav")]


def test_a_line_is_a_query(tmp_path):
    (tmp_path / "q.txt").write_text("\ufeffa man\n\n  a woman, calm \n", encoding="utf-8")
    assert read_queries(tmp_path / "q.txt") == [Query("a man"), Query("a woman, calm")]


def test_tables_say_the_same(tmp_path):
    (tmp_path / "q.csv").write_text('id,text,like,more\n1,a man,,"[""calm"", ""low""]"\nb,,c.wav,\n')
    rows = [{"id": "1", "text": "a man", "more": ["calm", "low"]}, {"id": "b", "like": "c.wav"}]
    (tmp_path / "q.json").write_text(json.dumps(rows))
    expected = [Query("a man", more=("calm", "low"), id="1"), Query(like=tmp_path.resolve() / "c.wav", id="b")]
    assert read_queries(tmp_path / "q.csv") == expected
    assert read_queries(tmp_path / "q.json") == expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("q.txt", "\n \n", "no query; expected one a line"),
        ("q.txt", "a man\n" + "a" * 1001, "line 2 has 1,001 characters"),
        ("q.csv", "text,loudness\na man,1\n", "unknown column 'loudness'"),
        ("q.csv", "id,text\n1,a man\n1,a woman\n", "two queries have the id '1'"),
        ("q.csv", "id,text\n1,\n", "row 1 has neither words nor a clip"),
        ("q.csv", "like\n../c.wav\n", "leaves the audio root"),
    ],
)
def test_bad_files(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises((QueryError, ManifestError), match=message):
        read_queries(tmp_path / name)


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "q.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(QueryError, match="not UTF-8 text"):
        read_queries(tmp_path / "q.txt")
    with pytest.raises(QueryError, match="cannot be read"):
        read_queries(tmp_path / "none.txt")


def test_only_words_are_what_a_calibration_speaks_of():
    assert Query("a").is_caption
    assert not Query("a", more=("b",)).is_caption
    assert not Query("a", like="c.wav").is_caption
