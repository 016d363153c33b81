"""Options of readers: one meaning for each name, and words of a command line as the values that a reader takes."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict, Unpack

import pytest
from pydantic import TypeAdapter

from raclap.corpora.options import OPTIONS, keyword_options, read_options, takes_pairs, takes_several
from raclap.corpora.preparation import READERS, options_of
from raclap.errors import RecipeError


class Packed(TypedDict, total=False):
    columns: dict[str, str]
    validation_share: float


def reader(
    root: Path,
    skip_bad: bool = False,
    *,
    extract_to: Path,
    captions: int = 6,
    speakers: tuple[str | int, ...] = (),
    remaps: Mapping[str, str] = {},
    name: str = "",
    workers: int | None = None,
    **options: Unpack[Packed],
) -> None: ...


PARAMETERS = keyword_options(reader)


def test_keywords_are_options_and_packed_ones_too():
    assert list(PARAMETERS) == [
        "extract_to", "captions", "speakers", "remaps", "name", "workers", "columns", "validation_share",
    ]  # fmt: skip
    needed = [name for name, parameter in PARAMETERS.items() if parameter.default is inspect.Parameter.empty]
    assert needed == ["extract_to"]


def test_kinds():
    assert {name for name, parameter in PARAMETERS.items() if takes_pairs(parameter)} == {"remaps", "columns"}
    assert {name for name, parameter in PARAMETERS.items() if takes_several(parameter)} == {"speakers"}


@pytest.mark.parametrize(
    ("name", "words", "value"),
    [
        ("extract_to", "a b", Path("a b")),
        ("captions", "12", 12),
        ("speakers", ["1", "x"], ("1", "x")),
        ("remaps", ["a=b", "c=d=e", "f="], {"a": "b", "c": "d=e", "f": ""}),
        ("columns", ["a=b", "a=b"], {"a": "b"}),
        ("validation_share", "0.25", 0.25),
        ("workers", "2", 2),
        ("name", "mine", "mine"),
    ],
)
def test_words_become_values(name: str, words: Any, value: Any):
    assert read_options({name: words, "captions": None} | {name: words}, PARAMETERS) == {name: value}


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("captions", "many", "--captions: 'many': input should be a valid integer"),
        ("validation_share", "much", "--validation-share: 'much': input should be a valid number"),
        ("columns", ["caption"], "--columns: 'caption'; expected NAME=VALUE"),
        ("columns", ["a=b", "a=c"], "--columns: a is both 'b' and 'c'"),
        ("audio_root", "x", "--audio-root: this corpus has no such option; it has --extract-to, --captions"),
    ],
)
def test_what_is_wrong_is_named(name: str, words: Any, message: str):
    with pytest.raises(RecipeError, match=message):
        read_options({name: words}, PARAMETERS)


def test_a_reader_without_options_says_so():
    with pytest.raises(RecipeError, match="--captions: this corpus has no such option; it has none"):
        read_options({"captions": "6"}, {})


@pytest.mark.parametrize("corpus", sorted(READERS))
def test_every_parameter_of_every_reader_is_an_option(corpus: str):
    first, second, *_ = inspect.signature(READERS[corpus]).parameters.values()
    assert (first.name, second.name, second.default) == ("root", "skip_bad", False)
    for name, parameter in options_of(corpus).items():
        assert name in OPTIONS, f"{corpus} takes '{name}', which OPTIONS does not explain"
        TypeAdapter(parameter.annotation)  # names a type that words can be read as
        if parameter.default not in (None, inspect.Parameter.empty):
            assert TypeAdapter(parameter.annotation).validate_python(parameter.default) == parameter.default


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_every_option_is_taken_and_of_one_kind(name: str):
    takers = [options_of(corpus)[name] for corpus in READERS if name in options_of(corpus)]
    assert takers, f"no reader takes '{name}'"
    assert len({(takes_pairs(parameter), takes_several(parameter)) for parameter in takers}) == 1
    if takes_pairs(takers[0]):
        assert OPTIONS[name].rpartition(", ")[2].count("=") == 1, "its last word is shown for its value"
