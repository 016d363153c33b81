"""RA-CLAP: a speech tower, a text tower, their projections and a contrastive head.

Shapes: B items, S samples, F frames, M mel bins, N tokens, D joint size.
"""

import copy
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PretrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import ModelOutput, TransformersKwargs, can_return_tuple

from .calibration_raclap import Calibration
from .configuration_raclap import RaClapConfig
from .encoders_raclap import feature_inputs, frame_mask
from .losses_raclap import info_nce
from .pooling_raclap import LayerWeightedMean, mask_group_norm, masked_mean, waveform_needs_no_gradient, with_mask
from .projection_raclap import build_projection
from .towers_raclap import (
    build_tower,
    drop_unknown_attention,
    has_attention,
    held_whole,
    load_tower,
    start_weight_norm,
    take_weights,
)
from .wavlm_attention_raclap import WavLMTower

_TAG_LOG_SCALE = math.log(10.0)


@dataclass
class RaClapOutput(ModelOutput):
    """What `RaClapModel` returns; what was not asked for is None.

    Attributes:
        loss: scalar, symmetric InfoNCE, with `return_loss=True`.
        logits_per_audio: (B_audio, B_text) cosines times `logit_scale`.
        logits_per_text: its transpose.
        text_embeds: (B_text, D) unit vectors.
        audio_embeds: (B_audio, D) unit vectors.
        text_model_output, audio_model_output: outputs of the towers.
    """

    loss: Tensor | None = None
    logits_per_audio: Tensor | None = None
    logits_per_text: Tensor | None = None
    text_embeds: Tensor | None = None
    audio_embeds: Tensor | None = None
    text_model_output: ModelOutput | None = None
    audio_model_output: ModelOutput | None = None

    def to_tuple(self) -> tuple[Any, ...]:
        """All present fields, nested outputs as tuples."""
        return tuple(v.to_tuple() if isinstance(v, ModelOutput) else v for v in self.values())


class RaClapModel(PreTrainedModel):
    """Embeds speech and descriptions of its style in one space.

    Args:
        config: both towers and how they are joined.

    Source: RA-CLAP section 2.1.
    """

    config_class = RaClapConfig
    base_model_prefix = "raclap"
    main_input_name = "input_ids"
    input_modalities = ("audio", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True

    def __init__(self, config: RaClapConfig):
        super().__init__(config)
        drop_unknown_attention(config)
        self.audio_model = build_tower(config.audio_config)
        self.text_model = build_tower(config.text_config, add_pooling_layer=False)
        self._masks_group_norm = mask_group_norm(self.audio_model)
        waveform_needs_no_gradient(self.audio_model)
        if config.audio_pooling == "layer_weighted_mean":
            self.audio_pooling = LayerWeightedMean(_num_layers(config.audio_config), config.layer_weights)
        if config.text_pooling == "layer_weighted_mean":
            self.text_pooling = LayerWeightedMean(_num_layers(config.text_config), config.layer_weights)
        self.audio_projection, self.text_projection = (
            build_projection(config.projection, tower.hidden_size, config.projection_dim, config.projection_dropout)
            for tower in (config.audio_config, config.text_config)
        )
        self.log_logit_scale = nn.Parameter(torch.tensor(math.log(config.logit_scale_init)))
        if config.tag_head:
            self.tag_log_scale = nn.Parameter(torch.tensor(_TAG_LOG_SCALE))
            self.tag_bias = nn.Parameter(torch.zeros(()))
        self._no_split_modules = held_whole(self)
        self.post_init()

    @classmethod
    def is_custom_code(cls) -> bool:
        """No, so that what a file lacks starts as in the library: of custom code it leaves some modules out."""
        return False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, RaClapModel):
            init.constant_(module.log_logit_scale, math.log(self.config.logit_scale_init))
            if self.config.tag_head:
                init.constant_(module.tag_log_scale, _TAG_LOG_SCALE)
                init.zeros_(module.tag_bias)
        elif isinstance(module, LayerWeightedMean):
            init.constant_(module.layer_logits, module.start)
        elif isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        else:
            super()._init_weights(module)

    def _initialize_missing_keys(self, *args: Any, **kwargs: Any) -> None:
        super()._initialize_missing_keys(*args, **kwargs)
        start_weight_norm(self)

    @classmethod
    def from_speech_text_pretrained(
        cls,
        speech: str | PreTrainedModel,
        text: str | PreTrainedModel,
        dtype: torch.dtype = torch.float32,
        **config_kwargs: Any,
    ) -> "RaClapModel":
        """Joins two pretrained encoders by fresh projections.

        Args:
            speech: a speech encoder: Hub name, folder, or a loaded model.
            text: a text encoder, likewise.
            dtype: of all weights; one for both towers, whatever they were saved in.
            **config_kwargs: further fields of `RaClapConfig`.

        Returns:
            The model, in eval mode. SpecAugment inside the speech tower is switched off: it fails on short clips.
        """
        audio_model = speech if isinstance(speech, PreTrainedModel) else load_tower(speech, dtype)
        text_model = text if isinstance(text, PreTrainedModel) else load_tower(text, dtype)
        audio_config, text_config = copy.deepcopy(audio_model.config), copy.deepcopy(text_model.config)
        if audio_config.model_type == "wavlm" and not isinstance(audio_model, WavLMTower):
            audio_config._attn_implementation = None  # "eager" was no choice: the library's class knows nothing else
        for name in ("mask_time_prob", "mask_feature_prob"):
            if hasattr(audio_config, name):
                setattr(audio_config, name, 0.0)
        for tower_config in (audio_config, text_config):
            if Path(tower_config._name_or_path).is_dir():  # a folder of this machine says nothing elsewhere
                tower_config._name_or_path = ""
        config = RaClapConfig(audio_config=audio_config, text_config=text_config, **config_kwargs)
        model = cls(config).to(dtype)
        take_weights(model.audio_model, audio_model)
        take_weights(model.text_model, text_model)
        return model.eval()

    def _set_gradient_checkpointing(
        self, enable: bool = True, gradient_checkpointing_func: Callable = checkpoint, **kwargs: Any
    ) -> None:
        # Reentrant checkpoints lose the gradient of what WavLM's first layer hands on beside the hidden states.
        function = functools.partial(gradient_checkpointing_func, use_reentrant=False)
        super()._set_gradient_checkpointing(enable, function, **kwargs)

    def set_attn_implementation(self, attn_implementation: str | dict[str, str], *args: Any, **kwargs: Any) -> None:
        """As in the library; a name for the whole model passes by a tower that does not have it."""
        if isinstance(attn_implementation, str):
            towers = {"audio_config": self.audio_model, "text_config": self.text_model}
            attn_implementation = {"": attn_implementation} | {
                name: attn_implementation
                if has_attention(tower, attn_implementation)
                else tower.config._attn_implementation
                for name, tower in towers.items()
            }
        super().set_attn_implementation(attn_implementation, *args, **kwargs)

    @property
    def logit_scale(self) -> Tensor:
        """Inverse temperature, scalar."""
        return self.log_logit_scale.exp()

    def add_tag_head(self, odds: float) -> None:
        """Gives a model without one the scale and the bias of `tag_logits`.

        Cosines of towers that were not yet trained for tags lie around 0, where the bias alone decides: it starts at
        the log-odds of a tag, so that the first steps need not find out how rare tags are. The scale starts at 10, as
        in SigLIP: cosines a quarter of their range apart then differ by 5 in logits, enough to be sure either way.

        Args:
            odds: of a tag, that a clip has it to that it has not.
        """
        like = self.log_logit_scale
        self.config.tag_head = True
        self.tag_log_scale = nn.Parameter(torch.full_like(like, _TAG_LOG_SCALE))
        self.tag_bias = nn.Parameter(torch.full_like(like, math.log(odds)))

    def tag_logits(self, audio_embeds: Tensor, tag_embeds: Tensor) -> Tensor:
        """Log-odds that each clip has each tag.

        Args:
            audio_embeds: (B, D) unit vectors.
            tag_embeds: (K, D) unit vectors of sentences that name one tag each.

        Returns:
            (B, K).

        Raises:
            ValueError: the model has no tag head.
        """
        if not self.config.tag_head:
            raise ValueError("this model has no tag head: it was trained without classification by scaled logits")
        return self.tag_log_scale.exp() * audio_embeds @ tag_embeds.T + self.tag_bias

    @property
    def calibration(self) -> Calibration | None:
        """What this model's cosines mean; None where nobody has calibrated it."""
        return None if self.config.calibration is None else Calibration.from_dict(self.config.calibration)

    def match_probability(self, audio_embeds: Tensor, text_embeds: Tensor) -> Tensor:
        """Probability that each caption fits each clip, at even odds (see `Calibration.probability`).

        Args:
            audio_embeds: (B_audio, D) unit vectors.
            text_embeds: (B_text, D) unit vectors.

        Returns:
            (B_audio, B_text) in [0, 1].

        Raises:
            ValueError: the model is not calibrated.
        """
        if self.calibration is None:
            raise ValueError("this model is not calibrated: `raclap calibrate MODEL --manifest FILE` does it")
        return self.calibration.probability(audio_embeds @ text_embeds.T)

    @torch.no_grad()
    def clamp_logit_scale_(self) -> None:
        """Puts the scale back into [1, logit_scale_max]; for the training loop, after every step, in log space."""
        self.log_logit_scale.clamp_(0.0, math.log(self.config.logit_scale_max))

    @property
    def layer_weights(self) -> dict[str, Tensor]:
        """α of Eq. (2) for each tower that has it: modality to (L,)."""
        pools = {"audio": getattr(self, "audio_pooling", None), "text": getattr(self, "text_pooling", None)}
        return {name: pool.weights.detach() for name, pool in pools.items() if pool is not None}

    def get_input_embeddings(self) -> nn.Module:
        """The text tower's token embeddings."""
        return self.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the text tower's token embeddings."""
        self.text_model.set_input_embeddings(value)

    @can_return_tuple
    def get_text_features(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple | BaseModelOutputWithPooling:
        """Embeds captions.

        Args:
            input_ids: (B, N).
            attention_mask: (B, N), 1 where real.
            token_type_ids: (B, N), for towers that use them.
            **kwargs: passed to the text tower (`output_hidden_states`, `output_attentions`).

        Returns:
            The tower's output, its `pooler_output` replaced by the (B, D) unit embeddings.
        """
        output, pooled = self.pool_text(input_ids, attention_mask, token_type_ids, **kwargs)
        return _with_embedding(output, self._project_text(pooled))

    def pool_text(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[ModelOutput, Tensor]:
        """The text tower's output and its pooling, (B, H), before the projection.

        Of a frozen tower the pooling of a caption never changes: compute it once, give it to `forward`.
        """
        if token_type_ids is not None:
            kwargs["token_type_ids"] = token_type_ids
        weighted = self.config.text_pooling == "layer_weighted_mean"
        if weighted:
            kwargs["output_hidden_states"] = True
        output = self.text_model(input_ids=input_ids, attention_mask=attention_mask, return_dict=True, **kwargs)
        if weighted:
            return output, self.text_pooling(output.hidden_states, attention_mask)
        if self.config.text_pooling == "cls":
            return output, output.last_hidden_state[:, 0]
        return output, masked_mean(output.last_hidden_state, attention_mask)

    def _project_text(self, pooled: Tensor) -> Tensor:
        return F.normalize(self.text_projection(pooled), dim=-1)

    @can_return_tuple
    def get_audio_features(
        self,
        input_values: Tensor | None = None,
        input_features: Tensor | None = None,
        audio_attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple | BaseModelOutputWithPooling:
        """Embeds clips.

        Args:
            input_values: (B, S) waveforms, for towers that read samples.
            input_features: (B, F, M) log-mel frames, for towers that read those; for Whisper too, whose library model
                wants (B, M, F).
            audio_attention_mask: (B, S) or (B, F), 1 where real.
            **kwargs: passed to the audio tower (`output_hidden_states`, `output_attentions`).

        Returns:
            The tower's output, its `pooler_output` replaced by the (B, D) unit embeddings.

        Raises:
            ValueError: not exactly one of `input_values` and `input_features` is given.
        """
        if (input_values is None) == (input_features is None):
            raise ValueError("pass either input_values or input_features")
        if audio_attention_mask is None and input_features is not None and self.config.audio_window_is_fixed:
            audio_attention_mask = input_features.new_ones(input_features.shape[:2])
        if self.config.audio_pooling == "layer_weighted_mean":
            kwargs["output_hidden_states"] = True
        inputs = self._audio_inputs(input_values, input_features, audio_attention_mask)
        output = self.audio_model(**inputs, return_dict=True, **kwargs)
        frames_are_pooled = self.config.audio_pooling != "pooler"
        pooled = self._pool_frames(output, audio_attention_mask) if frames_are_pooled else output.pooler_output
        return _with_embedding(output, F.normalize(self.audio_projection(pooled), dim=-1))

    def _audio_inputs(
        self, input_values: Tensor | None, input_features: Tensor | None, mask: Tensor | None
    ) -> dict[str, Tensor | None]:
        """What the speech tower is called with, in its own dtype: the processor gives single precision."""
        dtype = self.audio_model.dtype
        if input_values is None:
            return feature_inputs(self.config.audio_config, input_features.to(dtype), mask)
        values = input_values.to(dtype)
        return {"input_values": with_mask(values, mask) if self._masks_group_norm else values, "attention_mask": mask}

    def _pool_frames(self, output: ModelOutput, input_mask: Tensor | None) -> Tensor:
        last = output.last_hidden_state
        mask, frames = input_mask, last.shape[1]
        if self.config.audio_window_is_fixed:
            mask = frame_mask(self.config.audio_config, input_mask, frames)
        elif input_mask is not None and input_mask.shape[1] != frames:
            mask = self.audio_model._get_feature_vector_attention_mask(frames, input_mask)
        if self.config.audio_pooling == "last_mean":
            return masked_mean(last, mask)
        # The last recorded state of pre-norm encoders comes before the final LayerNorm; the output after it.
        return self.audio_pooling((*output.hidden_states[:-1], last), mask)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        input_values: Tensor | None = None,
        input_features: Tensor | None = None,
        audio_attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        text_pooled: Tensor | None = None,
        return_loss: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | RaClapOutput:
        """Embeds what is given and, with both modalities, compares them.

        Args:
            input_ids, attention_mask, token_type_ids: captions, (B_text, N).
            input_values, input_features, audio_attention_mask: clips, as in `get_audio_features`.
            text_pooled: (B_text, H) from `pool_text`, in place of captions.
            return_loss: also compute symmetric InfoNCE; clip i must then belong to caption i.
            **kwargs: passed to both towers.

        Returns:
            See `RaClapOutput`.

        Raises:
            ValueError: no modality is given, or `return_loss` with unequal numbers of clips and captions.
        """
        has_audio = input_values is not None or input_features is not None
        if input_ids is None and text_pooled is None and not has_audio:
            raise ValueError("pass input_ids, audio inputs, or both")
        text = audio = None
        if text_pooled is not None:
            text = BaseModelOutputWithPooling(pooler_output=self._project_text(text_pooled))
        elif input_ids is not None:
            text = self.get_text_features(input_ids, attention_mask, token_type_ids, return_dict=True, **kwargs)
        if has_audio:
            audio = self.get_audio_features(
                input_values, input_features, audio_attention_mask, return_dict=True, **kwargs
            )
        logits = loss = None
        if text is not None and audio is not None:
            # All on one device, should the model be spread over several.
            embeds, scale = (
                tensor.to(audio.pooler_output.device) for tensor in (text.pooler_output, self.logit_scale)
            )
            logits = scale * audio.pooler_output @ embeds.T
        if return_loss:
            if logits is None or logits.shape[0] != logits.shape[1]:
                raise ValueError("return_loss needs as many clips as captions")
            loss = info_nce(audio.pooler_output, embeds, scale)
        return RaClapOutput(
            loss=loss,
            logits_per_audio=logits,
            logits_per_text=None if logits is None else logits.T,
            text_embeds=None if text is None else text.pooler_output,
            audio_embeds=None if audio is None else audio.pooler_output,
            text_model_output=text,
            audio_model_output=audio,
        )


def _num_layers(config: PretrainedConfig) -> int:
    """Hidden states an encoder returns: its input and each layer."""
    return config.num_hidden_layers + 1


def _with_embedding(output: ModelOutput, embedding: Tensor) -> BaseModelOutputWithPooling:
    return BaseModelOutputWithPooling(
        last_hidden_state=output.last_hidden_state,
        pooler_output=embedding,
        hidden_states=getattr(output, "hidden_states", None),
        attentions=getattr(output, "attentions", None),
    )
