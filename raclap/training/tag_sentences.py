"""Tags as the text tower reads them: every step puts each tag into a sentence that is drawn anew.

Shapes: K tags, D joint size, N tokens, H hidden size of the text tower.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from modeling_raclap import RaClapModel, RaClapProcessor
from raclap.training.distributed import gather_with_gradient, process_count, process_index
from raclap.training.frozen_text import before_projection_is_trained, pool_texts

_SENTENCES = 5  # a stream of randomness beside those of a draw of a pair


class TagSentences:
    """The sentences of all tags, read once; a frozen text tower's pooling of them as well.

    Args:
        model: on the device to use.
        processor: of the model.
        sentences: of each of the K tags.
        seed: of the draws.
    """

    def __init__(self, model: RaClapModel, processor: RaClapProcessor, sentences: Sequence[Sequence[str]], seed: int):
        self._seed = seed
        self._counts = [len(of_tag) for of_tag in sentences]
        self._firsts = np.cumsum([0, *self._counts[:-1]])
        self._inputs = _read(model, processor, [text for of_tag in sentences for text in of_tag])

    def embed(self, model: nn.Module, step: int) -> Tensor:
        """Embeds each tag in the sentence of a step; processes share the work.

        Args:
            model: a `RaClapModel`, maybe wrapped.
            step: of the whole run; with the seed it decides on the sentences, the same ones on every process.

        Returns:
            (K, D) unit vectors, equal on every process, with gradient.
        """
        rows = self.drawn(step)
        share = -(-len(rows) // process_count())
        # Shares are equal: processes at the end begin again with the first tags, whose second embeddings are cut off.
        own = np.arange(share * process_index(), share * (process_index() + 1)) % len(rows)
        device = next(model.parameters()).device
        inputs = {name: values.to(device) for name, values in self._of_rows(rows[own]).items()}
        return gather_with_gradient(model(**inputs)["text_embeds"])[: len(rows)]

    def drawn(self, step: int) -> np.ndarray:
        """The sentence of each tag in a step: (K,) numbers among all sentences."""
        generator = np.random.default_rng([self._seed, step, _SENTENCES])
        return self._firsts + generator.integers(self._counts)

    def _of_rows(self, rows: np.ndarray) -> dict[str, Tensor]:
        inputs = {name: values[torch.from_numpy(rows)] for name, values in self._inputs.items()}
        if "attention_mask" not in inputs:
            return inputs
        longest = int(inputs["attention_mask"].sum(1).max())
        return {name: values[:, :longest] for name, values in inputs.items()}


def _read(model: RaClapModel, processor: RaClapProcessor, texts: list[str]) -> Mapping[str, Tensor]:
    """Inputs of the model for all sentences: tokens (·, N), or what a frozen tower pools them to, (·, H)."""
    if before_projection_is_trained(model):
        return dict(processor(text=texts))
    pooled = pool_texts(model, processor, texts)
    return {"text_pooled": torch.stack([pooled[text] for text in texts])}
