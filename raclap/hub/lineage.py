"""What a model has learned from, itself and through the models that it came from: `training_data.json`.

A model that went on from another one, or was taught by one, carries what that one learned from, and so its licences.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from raclap.data.facts import NOT_STATED, CorpusFacts
from raclap.errors import ModelFolderError
from raclap.files import write_json
from raclap.recipe import Recipe

TRAINING_DATA = "training_data.json"

Role = Literal["training", "start", "teacher"]
_EXPORTS = ("export", "export_last")


@dataclass(frozen=True)
class SeenCorpus:
    """A corpus that left its mark on the weights.

    Attributes:
        pairs: rows; None where not known.
        hours: of recordings; None where not known.
        languages: codes as stated.
        licences: as stated, see `CorpusFacts`; empty where none is.
        role: how: in the training of this model, or of the one it started from, or of a teacher.
    """

    pairs: int | None
    hours: float | None
    languages: tuple[str, ...]
    licences: tuple[str, ...]
    role: Role

    @classmethod
    def of_facts(cls, facts: CorpusFacts) -> "SeenCorpus":
        """A corpus of the model's own training."""
        return cls(facts.pairs, facts.hours, facts.languages, facts.licences, "training")


@dataclass(frozen=True)
class TrainingData:
    """All corpora of a model, by name: its own first."""

    corpora: Mapping[str, SeenCorpus]

    @classmethod
    def of_run(cls, recipe: Recipe, facts: Mapping[str, CorpusFacts]) -> "TrainingData":
        """Of what a recipe trains: its own corpora, those of the model it starts from, and those of its teachers.

        Args:
            recipe: of the run.
            facts: of its corpora.

        Raises:
            ModelFolderError: the file of a start or of a teacher cannot be read.
        """
        corpora = {name: SeenCorpus.of_facts(own) for name, own in facts.items()}
        teachers = () if recipe.teacher is None else recipe.teacher.folders
        sources: list[tuple[str, Role]] = [(folder, "teacher") for folder in teachers]
        if recipe.model.init_from is not None:
            sources.insert(0, (recipe.model.init_from, "start"))
        for folder, role in sources:
            for name, seen in _inherited(Path(folder)).items():
                corpora[name] = _both(corpora[name], seen) if name in corpora else replace(seen, role=role)
        return cls(corpora)

    @property
    def licences(self) -> dict[str, tuple[str, ...]]:
        """As stated, by corpus."""
        return {name: seen.licences for name, seen in self.corpora.items()}

    def write(self, folder: Path) -> None:
        """Writes the file into a model folder."""
        corpora = {
            name: {**asdict(seen), "languages": list(seen.languages), "licences": list(seen.licences)}
            for name, seen in self.corpora.items()
        }
        write_json(folder / TRAINING_DATA, {"corpora": corpora})


def read_training_data(folder: Path) -> TrainingData | None:
    """What a model folder says that it was trained on; None where it has no such file.

    Raises:
        ModelFolderError: the file is not as it should be.
    """
    path = folder / TRAINING_DATA
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return TrainingData({name: _seen(own) for name, own in values["corpora"].items()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFolderError(
            f"{path}: not what an export writes ({type(error).__name__}: {error}); expected corpora by name"
        ) from error


def _seen(values: dict[str, Any]) -> SeenCorpus:
    lists = {name: tuple(values[name]) for name in ("languages", "licences")}
    return SeenCorpus(values["pairs"], values["hours"], role=values["role"], **lists)


def _inherited(folder: Path) -> Mapping[str, SeenCorpus]:
    """What another model brings along; where it does not say, its name alone."""
    known = read_training_data(folder)
    if known is not None:
        return known.corpora
    resolved = folder.resolve()
    name = resolved.parent.name if resolved.name in _EXPORTS else resolved.name
    return {name: SeenCorpus(None, None, (), (), "start")}


def _both(ours: SeenCorpus, theirs: SeenCorpus) -> SeenCorpus:
    """A corpus that was met twice: it may have been another build then, with other licences."""
    licences = {*ours.licences, *theirs.licences, *([] if ours.licences and theirs.licences else [NOT_STATED])}
    stated = sorted(licences - {NOT_STATED})
    partly = (NOT_STATED,) if stated and NOT_STATED in licences else ()
    return replace(ours, licences=(*stated, *partly))
