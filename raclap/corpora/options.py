"""What can be said to the readers of corpora beside the root: one meaning for each name, whatever the corpus.

A reader takes those of these that it needs as keyword-only parameters; `raclap prepare` makes its options from them.
"""

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from typing import Any

from pydantic import TypeAdapter, ValidationError

from raclap.errors import RecipeError

OPTIONS: dict[str, str] = {
    "attributes": "columns that become style attributes",
    "audio_root": "folder of the audio, where ROOT holds the tables alone",
    "caption_columns": "columns of captions, where there are several",
    "captions": "most captions composed for a clip",
    "columns": "names of columns in their table, OURS=THEIRS",
    "delimiter": "between the columns of a text table",
    "config": "configuration of the data set, where it has several",
    "emotions": "emotions to be counted as others, OLD=NEW",
    "extract_to": "folder that audio from inside rows or archives is written to",
    "label": "attribute that the names of folders tell",
    "language": "of the speech, as a code such as en",
    "licence": "of the recordings",
    "measured": "which of pitch, speed and volume are measured, or none of them",
    "name": "of the corpus in the manifest (default: that of ROOT)",
    "remaps": "leading folders of audio paths to be replaced, OLD=NEW",
    "revision": "of the data set on the Hub: a branch, tag or commit",
    "split": "that every row goes to",
    "split_lists": "files that list the items of each split, SPLIT=FILE",
    "splits": "their names of splits, OURS=THEIRS",
    "test_sessions": "recording sessions of the test split",
    "test_share": "share of the speakers that go to the test split, where the corpus has none",
    "test_speakers": "speakers of the test split",
    "train_sessions": "recording sessions of the training split",
    "train_speakers": "speakers of the training split",
    "validation_sessions": "recording sessions of the validation split",
    "validation_share": "share of the speakers that go to the validation split, where the corpus has none",
    "validation_speakers": "speakers of the validation split",
    "workers": "processes that measure recordings (default: one a core)",
}


def keyword_options(reader: Callable[..., Any]) -> dict[str, Parameter]:
    """The keyword options of a reader, those of its `**options: Unpack[SomeTypedDict]` among them."""
    options: dict[str, Parameter] = {}
    for parameter in inspect.signature(reader).parameters.values():
        if parameter.kind is Parameter.KEYWORD_ONLY:
            options[parameter.name] = parameter
        elif parameter.kind is Parameter.VAR_KEYWORD:
            (packed,) = typing.get_args(parameter.annotation)
            for name, annotation in typing.get_type_hints(packed).items():
                options[name] = Parameter(name, Parameter.KEYWORD_ONLY, annotation=annotation, default=None)
    return options


def takes_pairs(parameter: Parameter) -> bool:
    """Whether an option is given as NAME=VALUE, any number of times."""
    return _kind(parameter) is not None and issubclass(_kind(parameter), Mapping)


def takes_several(parameter: Parameter) -> bool:
    """Whether an option is given as a list of words."""
    kind = _kind(parameter)
    return kind is not None and issubclass(kind, Sequence) and not issubclass(kind, str)


def read_options(given: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """The words of a command line as the values that a reader takes.

    Args:
        given: words, lists of words, or lists of NAME=VALUE, by option; None where not given.
        parameters: of the reader, by name.

    Raises:
        RecipeError: the reader has no such option, or a value is not of its kind.
    """
    values = {}
    for name, words in given.items():
        if words is None:
            continue
        if name not in parameters:
            known = ", ".join(f"--{known.replace('_', '-')}" for known in parameters)
            raise RecipeError(f"--{name.replace('_', '-')}: this corpus has no such option; it has {known or 'none'}")
        value = read_pairs(name, words) if takes_pairs(parameters[name]) else words
        try:
            values[name] = TypeAdapter(parameters[name].annotation).validate_python(value)
        except ValidationError as error:
            problem = error.errors()[0]
            raise RecipeError(f"--{name.replace('_', '-')}: '{problem['input']}': {problem['msg'].lower()}") from error
    return values


def read_pairs(name: str, words: Sequence[str]) -> dict[str, str]:
    """Words of the form NAME=VALUE as a mapping.

    Args:
        name: of the option, for errors.
        words: as given on the command line.

    Raises:
        RecipeError: a word is not of that form, or gives a name another value.
    """
    values: dict[str, str] = {}
    for word in words:
        key, is_pair, value = word.partition("=")
        if not is_pair:
            raise RecipeError(f"--{name.replace('_', '-')}: '{word}'; expected NAME=VALUE")
        if values.setdefault(key, value) != value:
            raise RecipeError(f"--{name.replace('_', '-')}: {key} is both '{values[key]}' and '{value}'")
    return values


def _kind(parameter: Parameter) -> type | None:
    origin = typing.get_origin(parameter.annotation) or parameter.annotation
    return origin if isinstance(origin, type) else None
