"""A folder that AutoModel loads anywhere: safetensors, configurations, tokenizer, card, and the flat .py files."""

import shutil
from collections.abc import Callable
from pathlib import Path

import modeling_raclap
from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.files import replacing_folder
from raclap.hub.lineage import TrainingData
from raclap.lora import merged_weights

SHARD_SIZE = "5GB"

_CODE = Path(modeling_raclap.__file__).parent
# What an Inference Endpoint reads: its code, and what its container needs to run it.
_ENDPOINT = {"handler.py": "handler.py", "handler_requirements.txt": "requirements.txt"}


def export(
    model: RaClapModel,
    processor: RaClapProcessor,
    folder: Path,
    card: str,
    training_data: TrainingData | None = None,
    shard_size: str = SHARD_SIZE,
    add: Callable[[Path], None] = lambda _: None,
) -> None:
    """Writes the folder, whole or not at all; an older one of the same name is replaced.

    Args:
        model, processor: what to save. Adapters of the model are added to its weights in the folder alone.
        folder: where.
        card: its README.md.
        training_data: what the model has learned from; None where nobody knows.
        shard_size: weights above it are split into several files.
        add: writes what else belongs into the folder, before it takes its place.
    """
    with replacing_folder(folder) as beside:
        model.save_pretrained(beside, state_dict=merged_weights(model), max_shard_size=shard_size)
        processor.save_pretrained(beside)
        for ours, name in _ENDPOINT.items():
            shutil.copyfile(_CODE / ours, beside / name)
        if training_data is not None:
            training_data.write(beside)
        (beside / "README.md").write_text(card, encoding="utf-8")
        add(beside)
