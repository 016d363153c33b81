"""Tables of every kind give the same rows, and whatever is wrong with one is said where it is."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raclap.corpora.tables import Row, below_root, read_table
from raclap.errors import ManifestError, RecipeError

WORDS = {"path": "a b/1 (x).wav", "caption": 'He said "hi", calmly.', "who": "Jürgen"}
LINES = 'path,caption,who\na b/1 (x).wav,"He said ""hi"", calmly.",Jürgen\n'


def values(path: Path, **options) -> list[dict[str, str | None]]:
    return [{column: row.get(column) for column in row.columns} for row in read_table(path, **options)]


def write(path: Path, contents: bytes | str) -> Path:
    path.write_bytes(contents.encode() if isinstance(contents, str) else contents)
    return path


# What is read


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        ("t.csv", LINES),
        ("t.CSV", LINES),
        ("t.csv", "\ufeff" + LINES),
        ("t.csv", LINES.replace("\n", "\r\n")),
        ("t.csv", LINES.rstrip("\n")),
        ("t.csv", LINES.replace("caption", " caption ") + "\n\n"),
        ("t.tsv", 'path\tcaption\twho\na b/1 (x).wav\t"He said ""hi"", calmly."\tJürgen\n'),
        ("t.jsonl", json.dumps(WORDS) + "\n\n"),
        ("t.jsonl", "\ufeff" + json.dumps(WORDS, ensure_ascii=False)),
        ("t.json", json.dumps([WORDS], indent=2)),
        ("t.json", "\ufeff " + json.dumps([WORDS], ensure_ascii=False)),
    ],
)
def test_every_kind_of_table_gives_the_same_rows(tmp_path: Path, name: str, contents: str):
    assert values(write(tmp_path / name, contents)) == [WORDS]


def test_parquet_gives_the_same_rows(tmp_path: Path):
    pq.write_table(pa.Table.from_pylist([WORDS]), tmp_path / "t.parquet")
    assert values(tmp_path / "t.parquet") == [WORDS]


def test_an_object_of_objects_is_a_table_by_key(tmp_path: Path):
    rows = {f"k{number}": {"caption": "x" * 1000, "n": number} for number in range(3000)}  # larger than one block
    (tmp_path / "t.json").write_text(json.dumps(rows), encoding="utf-8")
    read = list(read_table(tmp_path / "t.json"))
    assert [(row["key"], row.number("n")) for row in read] == [(key, own["n"]) for key, own in rows.items()]
    assert read[7].where == "t.json, key 'k7'"


def test_quoted_line_breaks_belong_to_their_row(tmp_path: Path):
    table = write(tmp_path / "t.csv", 'path,caption\na.wav,"one\r\ntwo"\n\nb.wav,x,y\n')
    rows = read_table(table)
    assert next(rows)["caption"] == "one\r\ntwo"
    with pytest.raises(ManifestError, match=r"t\.csv: row 3 \(line 5\): 3 fields; expected 2 \(path, caption\)"):
        next(rows)


def test_a_table_without_header_and_columns_by_other_names(tmp_path: Path):
    table = write(tmp_path / "t.txt", "a.wav|Calm.\n")
    assert values(table, names=("path", "caption"), delimiter="|") == [{"path": "a.wav", "caption": "Calm."}]
    table = write(tmp_path / "t.csv", "clip,caption\na.wav,Calm.\n")
    (row,) = read_table(table, ("path",), {"path": "clip"})
    assert row["path"] == "a.wav" and row.has("path") and not row.has("clap")


def test_rows_are_read_one_by_one(tmp_path: Path):
    for name, good, bad in (
        ("t.csv", "a\n1\n", "1,2\n"),
        ("t.jsonl", '{"a": 1}\n', "{"),
        ("t.json", '[{"a": 1}', ", 3]"),
    ):
        rows = read_table(write(tmp_path / name, good + bad))
        assert next(rows).number("a") == 1
        with pytest.raises(ManifestError):
            next(rows)


# What is wrong with a table


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("t.csv", "", "no rows"),
        ("t.csv", "path,caption\n", "no rows"),
        ("t.csv", "path;caption\na;b\n", "columns are separated by a semicolon; expected a comma"),
        ("t.csv", "path\tcaption\na\tb\n", "columns are separated by a tab; expected a comma"),
        ("t.tsv", "path,caption\na,b\n", "columns are separated by a comma; expected a tab"),
        ("t.csv", "path,caption,path\na,b,c\n", "column 'path' is there twice"),
        ("t.csv", "path,caption\na,b\nc\n", r"row 2 \(line 3\): 1 fields; expected 2 \(path, caption\), separated"),
        ("t.csv", "path,caption\na,b\nc,d,e\n", r"row 2 \(line 3\): 3 fields; expected 2"),
        ("t.csv", 'path,caption\na,"b\nc,d\n', "line 3: unexpected end of data"),
        ("t.csv", 'path,caption\na,"b"c\n', "line 2: ',' expected after"),
        ("t.csv", b"path,caption\na,b\nc,caf\xe9\n", r"line 3: not UTF-8 text \(invalid continuation byte\)"),
        ("t.csv", "path,caption\na,b\n".encode("utf-16"), "line 1: not UTF-8 text"),
        ("t.csv", "path,caption\na,b\n".encode("utf-16-le"), "line 1: a NUL character; expected UTF-8 text"),
        ("t.csv", "path,caption\na,b\0\n", "line 2: a NUL character"),
        ("t.csv", "clip,caption\na,b\n", "no column 'path'; the columns are clip, caption; --columns says which"),
        ("t.csv", "paht,caption\na,b\n", "--columns says which column is meant, as in path=paht"),
        ("t.csv", "path,caption\na," + "x" * 2**25 + "\n", "line 2: field larger than field limit"),
        ("t.xlsx", b"PK\x03\x04\x14\x00\xff", "line 1: a NUL character|not UTF-8"),
        ("t.jsonl", "", "no rows"),
        ("t.jsonl", '{"path": 1}\n[1]\n', "row 2: list; expected an object of columns"),
        ("t.jsonl", '{"path": 1}\n{"path": \n', "row 2: not JSON"),
        ("t.jsonl", '{"path": 1, "path": 2}\n', "row 1: not JSON .'path' is there twice"),
        ("t.jsonl", '{"path": "\\ud800"}\n', "row 1: not JSON .*surrogates not allowed"),
        ("t.jsonl", "[" * 100_000 + "\n", "row 1: not JSON .*recursion"),
        ("t.jsonl", b'{"path": 1}\n{"path": "\xe9"}\n', "line 2: not UTF-8 text"),
        ("t.json", " \n", "no rows"),
        ("t.json", "[]", "no rows"),
        ("t.json", "{}", "no rows"),
        ("t.json", "3", "neither a list of objects nor an object of objects"),
        ("t.json", '[{"path": 1}, 3]', "row 2: int; expected an object of columns"),
        ("t.json", '{"data": [{"path": 1}]}', "key 'data': list; expected an object of columns"),
        ("t.json", '{"path": 1}\n{"path": 2}\n', r"key 'path': int; expected an object .*suffix \.jsonl"),
        ("t.json", '[{"path": 1}', r"after row 1: not JSON \(the end instead of , or \]\)"),
        ("t.json", '[{"path": 1}]]', r"after row 1: not JSON \(\] instead of the end\)"),
        ("t.json", '[{"path": 1},]', "after row 1: not JSON"),
        ("t.json", '{"a": {"path": 1}, "b" {}}', r"after key 'a': not JSON \(\{ instead of :\)"),
        ("t.json", '{"a": {"path": 1, "path": 2}}', "after the beginning: not JSON .'path' is there twice"),
        ("t.json", "[" * 100_000, "not JSON .*recursion"),
        ("t.json", b'[{"path": "\n\xe9"}]', "line 2: not UTF-8 text"),
        ("t.parquet", "path,caption\na,b\n", "not a readable Parquet file"),
        ("t.parquet", "", "not a readable Parquet file"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(tmp_path: Path, name: str, contents: bytes | str, message: str):
    table = write(tmp_path / name, contents)
    with pytest.raises(ManifestError, match=message) as raised:
        list(read_table(table, ("path",)))
    assert str(raised.value).startswith(f"{table}: ")


def test_a_parquet_file_that_is_cut_off_or_damaged_is_named(tmp_path: Path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"path": [f"{number}.wav" for number in range(20_000)]}), path, row_group_size=5000)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ManifestError, match="after row 0: not a readable Parquet file"):
        list(read_table(path))
    damaged = bytearray(whole)
    damaged[len(whole) // 2 : len(whole) // 2 + 200] = bytes(200)
    path.write_bytes(damaged)
    with pytest.raises(ManifestError, match=r"after row [1-9]\d*: not a readable Parquet file"):
        list(read_table(path))
    path.write_bytes(b"PAR1")
    with pytest.raises(ManifestError, match="not a readable Parquet file"):
        list(read_table(path))
    pq.write_table(pa.table([["a.wav"], ["b.wav"]], ["path", "path"]), path)
    with pytest.raises(ManifestError, match="column 'path' is there twice"):
        list(read_table(path))


def test_what_is_no_file_is_named(tmp_path: Path):
    with pytest.raises(ManifestError, match=r"absent\.csv: no such table"):
        next(read_table(tmp_path / "absent.csv"))
    with pytest.raises(ManifestError, match="a folder; expected a table"):
        next(read_table(tmp_path))
    with pytest.raises(RecipeError, match="delimiter: ', '; expected tab or one character"):
        next(read_table(write(tmp_path / "t.csv", LINES), delimiter=", "))


def test_an_entry_without_end_is_not_read_to_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("raclap.corpora.json_tables._LONGEST", 2**20)
    table = write(tmp_path / "t.json", '[{"path": "' + "x" * 2**23)
    held = []
    decode = json.JSONDecoder.raw_decode
    monkeypatch.setattr(
        json.JSONDecoder, "raw_decode", lambda own, text, at=0: held.append(len(text)) or decode(own, text, at)
    )
    with pytest.raises(ManifestError, match="not JSON"):
        list(read_table(table))
    assert max(held) <= 2**22 < table.stat().st_size


# What is wrong with a value


def row(**columns) -> Row:
    return Row(Path("t.csv"), "row 4", columns)


@pytest.mark.parametrize("null", ["", "  ", "nan", "None", "NULL", "n/a", None, float("nan")])
def test_nulls_say_nothing(null):
    assert row(a=null).get("a") is None
    assert row(a=null).number("a") is None
    assert row(a=null).one_or_more("a") == ()
    with pytest.raises(ManifestError, match=r"^t\.csv: row 4: column 'a' is empty$"):
        row(a=null)["a"]


def test_values_are_read_as_what_they_are():
    known = row(a=" x ", n="1.50", e="1e3", i=3, codes="HAP", many=["b", " c ", None, ""], none=None, s='["d", "e"]')
    assert (known["a"], known.number("n"), known.number("e"), known.number("i")) == ("x", 1.5, 1000.0, 3.0)
    assert known.code("codes", {"hap": "happy"}) == "happy"
    assert known.texts("many") == ("b", "c") and known.texts("none") == () and known.texts("absent") == ()
    assert known.one_or_more("many") == ("b", "c") and known.one_or_more("a") == ("x",)
    assert known.one_or_more("s") == ("d", "e")
    assert row(a="['it''s', \"b\"]").one_or_more("a") == ("its", "b")
    for text in ("[laughs] no", "[1, 2]", "[sighs]", "[" * 500 + "]", "['a', {}]"):
        assert row(a=text).one_or_more("a") == (text,)


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda own: own["b"], "no column 'b'; the columns are a"),
        (lambda own: own.number("a"), "column 'a' is 'x'; expected a number"),
        (lambda own: own.code("a", {"hap": 1, "sad": 2}), "column 'a' is 'x'; expected one of hap, sad"),
        (lambda own: own.texts("a"), "column 'a' is 'x'; expected a list of texts"),
        (lambda own: row(a=["x"]).get("a"), "column 'a' holds list; expected a text"),
        (lambda own: row(a={"bytes": b""}).one_or_more("a"), "column 'a' holds dict; expected a text"),
        (lambda own: row(a=b"x").get("a"), "column 'a' holds bytes; expected a text"),
        (lambda own: row(a="inf").number("a"), "column 'a' is 'inf'; expected a number"),
        (lambda own: row(a="1,5").number("a"), "column 'a' is '1,5'; expected a number"),
        (lambda own: row(a="../x").audio("a"), "column 'a' is '../x', which leaves the audio root"),
    ],
)
def test_bad_values_are_named(read, message: str):
    with pytest.raises(ManifestError, match=rf"^t\.csv: row 4: {message}"):
        read(row(a="x"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/b.wav", "a/b.wav"),
        ("./a//b.wav", "a/b.wav"),
        ("a\\b.wav", "a/b.wav"),
        ("a/..b.wav", "a/..b.wav"),
        ("../b.wav", None),
        ("a/../../b.wav", None),
        ("..", None),
        ("/a/b.wav", None),
        ("\\\\server\\b.wav", None),
        ("C:\\b.wav", None),
        ("", None),
        (".", None),
        ("a\0.wav", None),
    ],
)
def test_paths_stay_below_the_root(path: str, expected: str | None):
    assert below_root(path) == expected


@pytest.mark.parametrize(
    ("path", "remaps", "expected"),
    [
        ("old/b.wav", {"old": "new/er"}, "new/er/b.wav"),
        ("older/b.wav", {"old": "new"}, "older/b.wav"),
        ("/data/x/b.wav", {"/data/": ""}, "x/b.wav"),
        ("/data/x/b.wav", {"/": ""}, "data/x/b.wav"),
        ("old/a/b.wav", {"old/a": "one", "old": "two"}, "one/b.wav"),
        ("old/b.wav", {"old": "../new"}, None),
        ("old/b.wav", {"old": "/new"}, None),
        ("old/../../b.wav", {"old": ""}, None),
    ],
)
def test_remaps_replace_leading_folders(path: str, remaps: dict[str, str], expected: str | None):
    assert below_root(path, remaps) == expected
