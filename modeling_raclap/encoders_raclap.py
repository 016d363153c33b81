"""Speech encoders of transformers that do not read their input as the others do: Whisper and AST.

Both read a window of fixed length, without a mask: what a clip leaves of it was silence when they were trained, and
is silence here. Which of their frames are real is told to the pooling alone.

Shapes: B clips, F log-mel frames, M mel bins, T frames of the encoder.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import ASTConfig, PretrainedConfig, WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder


class WhisperTower(WhisperEncoder):
    """Whisper's encoder; out of the weights of a whole Whisper it reads its own and leaves the decoder's."""

    _keys_to_ignore_on_load_unexpected = (r"^(model\.)?decoder\.", r"^proj_out\.")

    @classmethod
    def is_custom_code(cls) -> bool:
        """No, so that positions start as in the library: of custom code it leaves some modules out."""
        return False

    @classmethod
    def from_pretrained(cls, source: str, *args: Any, **kwargs: Any) -> Any:
        """As in the library, from a whole Whisper or from an encoder alone."""
        return super().from_pretrained(source, *args, key_mapping={r"^(?:model\.)?encoder\.": ""}, **kwargs)

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """As in the library, under the encoder's own names: those of a whole Whisper cannot be told from them."""
        super().save_pretrained(*args, **{**kwargs, "save_original_format": False})


def feature_inputs(config: PretrainedConfig, input_features: Tensor, mask: Tensor | None) -> dict[str, Tensor | None]:
    """What an encoder of log-mel frames is called with.

    Args:
        config: of the encoder.
        input_features: (B, F, M).
        mask: (B, F), 1 where real.
    """
    if isinstance(config, WhisperConfig):
        return {"input_features": input_features.transpose(1, 2)}
    if isinstance(config, ASTConfig):
        return {"input_values": input_features}
    return {"input_features": input_features, "attention_mask": mask}


def frame_mask(config: WhisperConfig | ASTConfig, mask: Tensor, frames: int) -> Tensor:
    """Which frames of Whisper or AST are real.

    Args:
        config: of the encoder.
        mask: (B, F), 1 where the log-mel frame is real, ones first.
        frames: T, of AST two tokens and the patches.

    Returns:
        (B, T), 1 where real. AST's two tokens are no frames of the clip.
    """
    lengths = mask.sum(dim=1, keepdim=True)
    if isinstance(config, WhisperConfig):  # a convolution of stride 2 that pads one frame at either side
        return (torch.arange(frames, device=mask.device) < (lengths + 1).div(2, rounding_mode="floor")).long()
    columns = (config.max_length - config.patch_size) // config.time_stride + 1
    # Patches that lie wholly inside the clip; one at least.
    whole = (lengths - config.patch_size).div(config.time_stride, rounding_mode="floor") + 1
    real = torch.arange(columns, device=mask.device) < whole.clamp(min=1)
    rows = (frames - 2) // columns  # the patches are listed row by row, low mel bins first
    return torch.cat([real.new_zeros(mask.shape[0], 2), real.repeat(1, rows)], dim=1).long()
