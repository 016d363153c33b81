"""Teachers: whose cosines between the clips and the captions of a batch are the targets of the student.

Shapes: b pairs on this process, D joint size.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from modeling_raclap import RaClapModel
from raclap.recipe import TeacherRecipe, TrainingRecipe
from raclap.training.distributed import gather
from raclap.training.objectives import PairEmbeds, embed_pairs
from raclap.training.relations import TeacherCosines


def teacher_temperature(recipe: TeacherRecipe, models: Sequence[RaClapModel]) -> float:
    """τ_T: the recipe's, or a multiple of what the teachers learned (the geometric mean of several)."""
    if recipe.temperature is not None:
        return recipe.temperature
    mean = sum(model.log_logit_scale.item() for model in models) / len(models)
    return recipe.temperature_ratio * math.exp(-mean)


class BatchTeacher:
    """One or several frozen models that see what the student sees, before it is masked.

    Args:
        models: on the device of the batch, in eval mode; the cosines of several are averaged.
        recipe: decides τ_T.
        training: parts that each tower runs in.

    Source: RA-CLAP section 2.2, M = A_teacher T_teacherᵀ.
    """

    def __init__(self, models: Sequence[RaClapModel], recipe: TeacherRecipe, training: TrainingRecipe):
        self._models = [model.requires_grad_(False).eval() for model in models]
        self._recipe = recipe
        self._training = training

    @torch.no_grad()
    def __call__(self, inputs: Mapping[str, Tensor], notes: Mapping[str, Tensor]) -> TeacherCosines:
        """The teachers' cosines over the global batch."""
        seen = {name: notes.get(name, value) for name, value in inputs.items()}
        embeds = [self._embed(model, seen) for model in self._models]
        pairs = [(gather(each.audio.float()), gather(each.text.float())) for each in embeds]
        return TeacherCosines.average(pairs, teacher_temperature(self._recipe, self._models))

    def _embed(self, model: RaClapModel, inputs: dict[str, Tensor]) -> PairEmbeds:
        return embed_pairs(model, inputs, self._training.speech_micro_batches, self._training.text_micro_batches)


class MovingTeacher(BatchTeacher):
    """The exponential moving average of the student's weights; its batch statistics are the student's own.

    Args:
        student: where it starts.
        recipe: decides τ_T and the decay.
        training: parts that each tower runs in.
    """

    def __init__(self, student: RaClapModel, recipe: TeacherRecipe, training: TrainingRecipe):
        # Averaging buffers too would wear away those of whole numbers, such as the positions of tokens.
        self._average = AveragedModel(student, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay), use_buffers=False)
        # Its first update would copy the student; the average begins with the student as it is now.
        self._average.n_averaged += 1
        super().__init__([self._average.module], recipe, training)

    def follow(self, student: RaClapModel) -> None:
        """Moves on, after a step of the student."""
        self._average.update_parameters(student)

    def state_dict(self) -> dict[str, Tensor]:
        """For the checkpoint."""
        return self._average.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """From a checkpoint."""
        self._average.load_state_dict(state)


class StoredTeacher:
    """Frozen teachers that saw whole clips, once; their embeddings come as notes of the batch.

    Args:
        temperature: τ_T.
    """

    def __init__(self, temperature: float):
        self._temperature = temperature

    def __call__(self, inputs: Mapping[str, Tensor], notes: Mapping[str, Tensor]) -> TeacherCosines:
        """The teachers' cosines over the global batch."""
        return TeacherCosines(gather(notes["audio"].float()), gather(notes["text"].float()), self._temperature)
