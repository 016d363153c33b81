"""Addresses of data sets and of their rows: what is written is read again, and nothing leads out."""

from pathlib import Path

import pytest

from raclap.archive import dataset_sound
from raclap.archive.dataset_address import RowAddress, folder_of, read_hub_address, root_of
from raclap.archive.dataset_sound import read_row, row_is_there
from raclap.archive.facts import ArchiveError
from raclap.corpora.hub_dataset import fetch_recording
from raclap.errors import AudioError

COMMIT = "hf://datasets/somebody/voices@0123abc"


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (
            RowAddress("/data/my voices/100%#1?.parquet", "audio", 12),
            "file:///data/my%20voices/100%25%231%3F.parquet#column=audio&row=12",
        ),
        (
            RowAddress(f"{COMMIT}/data/train-0.parquet", "a & b", 0),
            f"{COMMIT}/data/train-0.parquet#column=a+%26+b&row=0",
        ),
        (RowAddress("/data/a.wav"), "file:///data/a.wav"),
        (RowAddress(f"zip://in/a b.wav::{COMMIT}/x.zip"), f"zip://in/a%20b.wav::{COMMIT}/x.zip"),
        (
            RowAddress(COMMIT, "wav", 3, {"config": "c", "split": "train", "part": "1", "parts": "2"}),
            f"{COMMIT}?config=c&split=train&part=1&parts=2#column=wav&row=3",
        ),
    ],
)
def test_addresses_of_rows_are_read_as_they_were_written(address: RowAddress, text: str) -> None:
    assert str(address) == text
    assert RowAddress.read(text) == address


@pytest.mark.parametrize(
    ("source", "revision", "expected"),
    [
        ("hf://datasets/somebody/voices", None, ("somebody/voices", None)),
        ("hf://datasets/voices/", "v1", ("voices", "v1")),
        ("hf://datasets/somebody/voices@refs%2Fconvert%2Fparquet", None, ("somebody/voices", "refs/convert/parquet")),
        ("hf://datasets/somebody/voices@v1", "v1", ("somebody/voices", "v1")),
    ],
)
def test_names_on_the_hub(source: str, revision: str | None, expected: tuple[str, str | None]) -> None:
    assert read_hub_address(source, revision) == expected


@pytest.mark.parametrize(
    "source", ["hf://somebody/voices", "hf:datasets/voices", "hf://datasets/a/b/data/train.parquet", "hf://datasets/"]
)
def test_other_addresses_are_refused(source: str) -> None:
    with pytest.raises(ArchiveError, match=r"expected hf://datasets/NAME, such as"):
        read_hub_address(source)
    with pytest.raises(ArchiveError, match=r"names the revision 'v1', and --revision 'v2'"):
        read_hub_address("hf://datasets/a/b@v1", "v2")


def test_a_root_names_the_configuration_where_there_are_several() -> None:
    assert root_of("hf://datasets/a/b", "default") == "hf://datasets/a/b"
    assert root_of("hf://datasets/a/b", "much noise") == "hf://datasets/a/b?config=much+noise"
    assert folder_of(root_of(str(RowAddress("/data/my voices")), "clean")) == Path("/data/my voices")
    assert folder_of("hf://datasets/a/b") is None


def test_nothing_outside_of_the_data_set_is_read(tmp_path: Path) -> None:
    root, secret = tmp_path / "set", tmp_path / "secret.wav"
    root.mkdir()
    secret.write_bytes(b"secret")
    (root / "link.wav").symlink_to(secret)
    inside = root / "a.wav"
    inside.write_bytes(b"inside")
    assert read_row(f"file://{inside}", f"file://{root}") == b"inside"
    for path in (secret, root / "link.wav", root / ".." / "secret.wav"):
        with pytest.raises(AudioError, match="lies outside of"):
            read_row(f"file://{path}", f"file://{root}")
        with pytest.raises(AudioError, match="lies outside of"):
            read_row(f"file://{path}", "hf://datasets/somebody/voices")
    for path in (f"file://{secret}::{COMMIT}/a.zip", f"local://{secret}::{inside}", f"https://x.org/a::{inside}"):
        with pytest.raises(AudioError, match="is neither on the Hub nor below"):
            fetch_recording(root, path)


def test_a_hub_that_cannot_be_reached_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(dataset_sound, "open_parquet", refuse)
    with pytest.raises(AudioError, match=r"#column=a&row=1: cannot be reached; is this machine offline"):
        read_row(f"{COMMIT}/a.parquet#column=a&row=1", "hf://datasets/somebody/voices")


def test_what_is_no_address_is_said(tmp_path: Path) -> None:
    for text in ("file:///a.parquet#row=x", "file:///a.parquet#column=audio"):
        with pytest.raises(AudioError, match="no address of a row"):
            read_row(text, f"file://{tmp_path}")
        assert not row_is_there(text)
    assert row_is_there(f"file://{tmp_path}") and row_is_there(f"{COMMIT}/a.parquet#column=a&row=1")
