"""A folder that AutoModel loads anywhere: safetensors, configurations, tokenizer, card and the flat .py files."""

from pathlib import Path

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.files import replacing_folder
from raclap.lora import merged_weights


def export(model: RaClapModel, processor: RaClapProcessor, folder: Path, card: str) -> None:
    """Writes the folder, whole or not at all; an older one of the same name is replaced.

    Args:
        model, processor: what to save. Adapters of the model are added to its weights in the folder alone.
        folder: where.
        card: its README.md.
    """
    with replacing_folder(folder) as beside:
        model.save_pretrained(beside, state_dict=merged_weights(model))
        processor.save_pretrained(beside)
        (beside / "README.md").write_text(card, encoding="utf-8")
