"""What an index was made by: the file `index.json`, which is read before anything else of the index is.

It is small, and replaced as a whole. In a folder it is written beside and renamed; in object storage an object appears
when all of it has arrived.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from pyarrow import fs

import raclap
from raclap.errors import RaClapError
from raclap.files import write_text

FORMAT_VERSION = 1  # of the folder's layout and the table's columns
_FILE = "index.json"


class ArchiveError(RaClapError):
    """An index is missing, damaged, in use or made by something else, or does not have what is asked of it."""


@dataclass(frozen=True)
class ModelFacts:
    """The model whose vectors an index holds.

    Attributes:
        name: its name on the Hub or its folder, as it was given.
        weights: SHA-256 of each of its weights files, by name (`raclap.provenance.weights_digests`).
        projection_dim: D, dimensions of a vector.
        sampling_rate: Hz that it hears at.
        calibration: how it turns a cosine into a probability, as in its configuration; None where it does not.
    """

    name: str
    weights: Mapping[str, str]
    projection_dim: int
    sampling_rate: int
    calibration: Mapping[str, Any] | None = None

    @classmethod
    def of_config(cls, name: str, weights: Mapping[str, str], config: Any, sampling_rate: int) -> Self:
        """Of a loaded model: the rest is in its configuration, a `RaClapConfig`."""
        return cls(name, weights, config.projection_dim, sampling_rate, config.calibration)


@dataclass(frozen=True)
class ApproximateFacts:
    """The approximate search of an index, as it was built.

    Attributes:
        rows: vectors that it was built on.
        partitions: cells of its coarse quantiser (IVF).
        probes: cells that a query reads.
        refine_factor: candidates a wanted row that are ranked again by their stored vectors.
        recall_at_10: share of the 10 nearest vectors that it found, mean of `sampled` stored vectors as queries.
        sampled: those queries.
    """

    rows: int
    partitions: int
    probes: int
    refine_factor: int
    recall_at_10: float
    sampled: int


@dataclass(frozen=True)
class IndexFacts:
    """What `index.json` says.

    Attributes:
        model: the model whose vectors the index holds.
        window_seconds: length of a window; None where each recording is one.
        hop_seconds: from the start of a window to that of the next.
        voice_activity: whether windows without a voice were left out.
        made_on: the day, as YYYY-MM-DD.
        raclap_version: the release that made it.
        approximate: its approximate search; None where there is none.
    """

    model: ModelFacts
    window_seconds: float | None
    hop_seconds: float | None
    voice_activity: bool = False
    made_on: str = field(default_factory=lambda: time.strftime("%Y-%m-%d"))
    raclap_version: str = raclap.__version__
    approximate: ApproximateFacts | None = None

    def to_dict(self) -> dict[str, Any]:
        """As `index.json` has it."""
        return {"format_version": FORMAT_VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """What `to_dict` gave.

        Raises:
            ValueError: the index is of another format version.
            KeyError, TypeError: a key is missing, or there is one that this release does not know.
        """
        known = dict(values)
        version = known.pop("format_version")
        if version != FORMAT_VERSION:
            raise ValueError(f"format version {version!r}; this release reads {FORMAT_VERSION}")
        model = ModelFacts(**known.pop("model"))
        approximate = known.pop("approximate", None)
        return cls(model=model, approximate=ApproximateFacts(**approximate) if approximate else None, **known)

    def with_approximate(self, approximate: ApproximateFacts | None) -> Self:
        """The same with another approximate search."""
        return replace(self, approximate=approximate)


def is_address(path: str | Path) -> bool:
    """Whether this is object storage (`s3://bucket/index`) and no folder."""
    return isinstance(path, str) and "://" in path


def facts_exist(path: str | Path) -> bool:
    """Whether there is an `index.json`."""
    if is_address(path):
        store, key = fs.FileSystem.from_uri(str(path))
        return store.get_file_info(f"{key}/{_FILE}").type == fs.FileType.File
    return (Path(path) / _FILE).is_file()


def read_facts(path: str | Path) -> IndexFacts:
    """Reads `index.json`.

    Raises:
        ArchiveError: it is missing, damaged or of another format version.
    """
    try:
        if is_address(path):
            store, key = fs.FileSystem.from_uri(str(path))
            with store.open_input_stream(f"{key}/{_FILE}") as stream:
                text = stream.read().decode("utf-8")
        else:
            text = (Path(path) / _FILE).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ArchiveError(f"{path}: is no index, since it holds no {_FILE} (`raclap index` makes one)") from error
    except OSError as error:
        raise ArchiveError(f"{path}: {_FILE} cannot be read ({error})") from error
    try:
        return IndexFacts.from_dict(json.loads(text))
    except ValueError as error:
        raise ArchiveError(f"{path}: {_FILE} is not what this release of raclap writes ({error})") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ArchiveError(f"{path}: {_FILE} is damaged ({type(error).__name__}: {error})") from error


def write_facts(path: str | Path, facts: IndexFacts) -> None:
    """Writes `index.json`, whole or not at all; an `OSError` is the caller's to tell."""
    text = json.dumps(facts.to_dict(), indent=2, ensure_ascii=False) + "\n"
    if is_address(path):
        store, key = fs.FileSystem.from_uri(str(path))
        with store.open_output_stream(f"{key}/{_FILE}") as stream:
            stream.write(text.encode("utf-8"))
    else:
        write_text(Path(path) / _FILE, text)
