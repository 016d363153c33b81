"""A frozen text tower says the same of a caption in every epoch: it is asked once.

Shapes: H hidden size of the text tower.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from tqdm import tqdm

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.data.inspection import Inspection

_CAPTIONS = 128


def pool_captions(
    model: RaClapModel, processor: RaClapProcessor, corpora: Iterable[Inspection]
) -> dict[str, Tensor] | None:
    """Pools every distinct caption of the corpora.

    Args:
        model: on the device to use.
        processor: of the model.
        corpora: whose captions, all of each row.

    Returns:
        Caption to (H,) on the CPU; None where anything before the projection is trained.
    """
    if before_projection_is_trained(model):
        return None
    return pool_texts(
        model, processor, (text for corpus in corpora for row in corpus.manifest.caption_texts() for text in row)
    )


def before_projection_is_trained(model: RaClapModel) -> bool:
    """Whether what the text tower makes of a caption changes in training."""
    return any(parameter.requires_grad for parameter in _before_projection(model))


def pool_texts(model: RaClapModel, processor: RaClapProcessor, texts: Iterable[str]) -> dict[str, Tensor]:
    """Pools every distinct text.

    Args:
        model: on the device to use; its text tower is put into eval mode.
        processor: of the model.
        texts: in any order.

    Returns:
        Text to (H,) on the CPU.
    """
    ordered = sorted(set(texts), key=lambda text: (len(text), text))
    model.text_model.eval()
    pooled: dict[str, Tensor] = {}
    with torch.no_grad():
        for first in tqdm(range(0, len(ordered), _CAPTIONS), desc="reading captions", unit="batch"):
            part = ordered[first : first + _CAPTIONS]
            vectors = model.pool_text(**processor(text=part).to(model.device))[1]
            pooled.update(zip(part, vectors.float().cpu(), strict=True))
    return pooled


def _before_projection(model: RaClapModel) -> Iterable[torch.nn.Parameter]:
    yield from model.text_model.parameters()
    if hasattr(model, "text_pooling"):
        yield from model.text_pooling.parameters()
