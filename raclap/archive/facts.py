"""What an index was made by: the file `index.json`, which is read before anything else of the index is.

It is small, and replaced as a whole (`address`).
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import raclap
from raclap.archive.address import file_exists, read_file, write_file
from raclap.errors import RaClapError

FORMAT_VERSION = 2  # of the folder's layout and the table's columns
FACTS_STEM = "index"
_FILE = f"{FACTS_STEM}.json"


class ArchiveError(RaClapError):
    """An index is missing, damaged, in use or made by something else, or does not have what is asked of it."""


class VersionError(ValueError):
    """An index is of another format version."""


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
            VersionError: the index is of another format version.
            KeyError, TypeError: a key is missing, or there is one that this release does not know.
        """
        known = dict(values)
        version = known.pop("format_version")
        if version != FORMAT_VERSION:
            raise VersionError(
                f"was made by another release of raclap (format version {version!r}, this one reads "
                f"{FORMAT_VERSION}); index the archive again, into a new folder"
            )
        model = ModelFacts(**known.pop("model"))
        approximate = known.pop("approximate", None)
        return cls(model=model, approximate=ApproximateFacts(**approximate) if approximate else None, **known)

    def with_approximate(self, approximate: ApproximateFacts | None) -> Self:
        """The same with another approximate search."""
        return replace(self, approximate=approximate)


def facts_exist(path: str | Path) -> bool:
    """Whether there is an `index.json`.

    Raises:
        ArchiveError: the storage does not answer.
    """
    try:
        return file_exists(path, _FILE)
    except OSError as error:
        raise ArchiveError(f"{path}: cannot be looked at ({_one_line(error)})") from error


def read_facts(path: str | Path) -> IndexFacts:
    """Reads `index.json`.

    Raises:
        ArchiveError: it is missing, damaged or of another format version.
    """
    try:
        text = read_file(path, _FILE)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ArchiveError(f"{path}: is no index, since it holds no {_FILE} (`raclap index` makes one)") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ArchiveError(f"{path}: {_FILE} cannot be read ({_one_line(error)})") from error
    try:
        return IndexFacts.from_dict(json.loads(text))
    except VersionError as error:
        raise ArchiveError(f"{path}: {error}") from error
    except ValueError as error:
        raise ArchiveError(f"{path}: {_FILE} is not what this release of raclap writes ({error})") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ArchiveError(f"{path}: {_FILE} is damaged ({type(error).__name__}: {error})") from error


def write_facts(path: str | Path, facts: IndexFacts) -> None:
    """Writes `index.json`, whole or not at all; an `OSError` is the caller's to tell."""
    write_file(path, _FILE, json.dumps(facts.to_dict(), indent=2, ensure_ascii=False) + "\n")


def _one_line(error: OSError | UnicodeDecodeError) -> str:
    return (getattr(error, "strerror", None) or str(error)).partition("\n")[0]
