"""From a recipe's teacher section to the relation that it teaches: loading, checking, storing.

Shapes: N rows, C distinct captions, D joint size.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.data.inspection import Inspection
from raclap.data.notes import PairNotes, StoredEmbeddings
from raclap.data.window import keep_to_window
from raclap.errors import RecipeError
from raclap.files import replacing
from raclap.model_folder import load_model_folder
from raclap.processes import join_processes
from raclap.recipe import Recipe
from raclap.retrieval.embed import embed_audio, embed_text
from raclap.training.objectives import Relate
from raclap.training.teacher import BatchTeacher, MovingTeacher, StoredTeacher, teacher_temperature


@dataclass(frozen=True)
class Teaching:
    """What a teacher brings to a run.

    Attributes:
        relate: gives the relation of a batch.
        notes: what it must know of each pair; None where the batch says all.
        moving: the teacher that follows the student, if it is one.
    """

    relate: Relate
    notes: PairNotes | None = None
    moving: MovingTeacher | None = None


def prepare_teaching(
    recipe: Recipe,
    student: RaClapModel,
    processor: RaClapProcessor,
    corpora: dict[str, Inspection],
    folder: Path,
) -> Teaching:
    """Loads the teachers of a recipe and has them look at whole clips where it says so.

    Args:
        recipe: with a teacher section.
        student, processor: what is to be taught, on the device to use.
        corpora: training rows by corpus.
        folder: of the run; keeps what the teachers made of whole clips.

    Raises:
        ModelFolderError: a teacher cannot be loaded.
        RecipeError: a teacher does not fit the student.
        AudioError: a clip is longer than a teacher of whole clips reads.
    """
    device = join_processes().device
    if recipe.teacher.ema_decay is not None:
        moving = MovingTeacher(student.to(device), recipe.teacher, recipe.training)
        return Teaching(moving, moving=moving)
    teachers = _load_teachers(recipe, student, processor)
    for model, _ in teachers:
        model.to(device)
    models = [model for model, _ in teachers]
    if recipe.teacher.sees == "crops":
        return Teaching(BatchTeacher(models, recipe.teacher, recipe.training))
    for _, reader in teachers:
        for corpus in corpora.values():
            keep_to_window(corpus, reader.feature_extractor.longest_seconds, crop_seconds=None, skip_bad=False)
    stored = _stored_embeddings(recipe, teachers, list(corpora.values()), folder / "teacher.safetensors")
    return Teaching(StoredTeacher(teacher_temperature(recipe.teacher, models)), notes=stored)


Teacher = tuple[RaClapModel, RaClapProcessor]


def _load_teachers(recipe: Recipe, student: RaClapModel, processor: RaClapProcessor) -> list[Teacher]:
    teachers = []
    for folder in recipe.teacher.folders:
        teacher = load_model_folder(folder)
        problem = _misfit(teacher, (student, processor), recipe.teacher.sees)
        if problem:
            raise RecipeError(f"teacher.folders: {folder}: {problem}")
        teachers.append(teacher)
    return teachers


def _misfit(teacher: Teacher, student: Teacher, sees: str) -> str | None:
    """Why a teacher cannot teach a student; None if it can."""
    sizes = [model.config.projection_dim for model, _ in (teacher, student)]
    if sizes[0] != sizes[1]:
        return f"embeds in {sizes[0]} dimensions, the student in {sizes[1]}"
    ours, theirs = (processor.feature_extractor.to_dict() for _, processor in (student, teacher))
    # Stored embeddings need the same recordings; a shared batch needs the same inputs.
    keys = ("sampling_rate", "trim_silence_db") if sees == "clips" else ("sampling_rate", *sorted(ours))
    for key in keys:
        if theirs.get(key) != ours[key]:
            return f"its features have {key} {theirs.get(key)}, those of the student {ours[key]}"
    if sees == "crops" and teacher[1].tokenizer.get_vocab() != student[1].tokenizer.get_vocab():
        return "has another tokenizer than the student; with teacher.sees 'clips' it may"
    return None


def _stored_embeddings(
    recipe: Recipe, teachers: Sequence[Teacher], corpora: Sequence[Inspection], path: Path
) -> StoredEmbeddings:
    """What the teachers make of every clip and caption: read, or computed and written."""
    captions = sorted({text for corpus in corpora for row in corpus.manifest.caption_texts() for text in row})
    key = _key(recipe, corpora, captions)
    if not (path.is_file() and _key_of(path) == key):
        vectors = _embed_everything(teachers, corpora, captions)
        if join_processes().is_main_process:
            with replacing(path) as beside:
                save_file(vectors, beside, {"key": key})
        join_processes().wait_for_everyone()
    vectors = load_file(path)
    return StoredEmbeddings(vectors["audio"], dict(zip(captions, vectors["text"], strict=True)))


def _embed_everything(
    teachers: Sequence[Teacher], corpora: Sequence[Inspection], captions: Sequence[str]
) -> Mapping[str, Tensor]:
    """(N, D) and (C, D) half precision, several teachers side by side: their cosine is the mean of the cosines."""
    audio, text = [], []
    for model, processor in teachers:
        audio.append(torch.cat([embed_audio(model, processor, corpus) for corpus in corpora]))
        text.append(embed_text(model, processor, captions))
    share = len(teachers) ** -0.5
    return {
        name: (share * torch.cat(parts, dim=1)).half().contiguous()
        for name, parts in (("audio", audio), ("text", text))
    }


def _key(recipe: Recipe, corpora: Sequence[Inspection], captions: Sequence[str]) -> str:
    """Changes with the teachers' weights, the rows or the captions."""
    digest = hashlib.sha256()
    for folder in recipe.teacher.folders:
        for weights in sorted(Path(folder).glob("*.safetensors")):
            with weights.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    for corpus in corpora:
        for pair_id in corpus.manifest.column("pair_id"):
            digest.update(f"{pair_id}\n".encode())
    for caption in captions:
        digest.update(f"{caption}\n".encode())
    return digest.hexdigest()


def _key_of(path: Path) -> str | None:
    with safe_open(path, framework="pt") as file:
        return (file.metadata() or {}).get("key")
