"""Configurations: what the weights need, never a learning rate or a path."""

from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig, PretrainedConfig

from .calibration_raclap import Calibration

AUDIO_POOLINGS = ("layer_weighted_mean", "last_mean", "pooler")
# Encoders of transformers that read a window of fixed length, shorter clips padded to it.
FIXED_WINDOW_ENCODERS = ("whisper", "audio-spectrogram-transformer")
TEXT_POOLINGS = ("mean", "cls", "layer_weighted_mean")
LAYER_WEIGHTS = ("softmax", "raw")
PROJECTIONS = ("relu_mlp", "residual_mlp")
CONVOLUTION_PADDINGS = ("zeros", "reflect")


class EcapaTdnnConfig(PretrainedConfig):
    """An ECAPA-TDNN speaker encoder.

    Args:
        num_mel_bins: M, height of the log-mel input.
        channels: C, width of the convolutional blocks; a multiple of `res2net_scale`.
        mfa_channels: width of the multi-layer feature aggregation.
        kernel_sizes: of the first block and the SE-Res2Net blocks after it.
        dilations: one a kernel size.
        res2net_scale: number of groups that a Res2Net convolution passes through one after another.
        se_channels: bottleneck of squeeze-and-excitation.
        attention_channels: bottleneck of the attentive statistics pooling.
        hidden_size: E, size of the embedding.
        padding: what convolutions see beyond a clip's ends: `zeros`, or `reflect` for the clip mirrored at its ends,
            as SpeechBrain's published weights were trained.

    Raises:
        ValueError: the sizes do not fit each other, or `padding` is neither.

    Source: Desplanques, Thienpondt and Demuynck, "ECAPA-TDNN", Interspeech 2020.
    """

    model_type = "raclap_ecapa_tdnn"

    def __init__(
        self,
        num_mel_bins: int = 80,
        channels: int = 512,
        mfa_channels: int = 1536,
        kernel_sizes: tuple[int, ...] = (5, 3, 3, 3),
        dilations: tuple[int, ...] = (1, 2, 3, 4),
        res2net_scale: int = 8,
        se_channels: int = 128,
        attention_channels: int = 128,
        hidden_size: int = 192,
        padding: str = "zeros",
        **kwargs: Any,
    ):
        if channels % res2net_scale:
            raise ValueError(f"channels ({channels}) must be a multiple of res2net_scale ({res2net_scale})")
        if len(kernel_sizes) != len(dilations):
            raise ValueError(f"kernel_sizes {kernel_sizes} and dilations {dilations} differ in length")
        self.num_mel_bins = num_mel_bins
        self.channels = channels
        self.mfa_channels = mfa_channels
        self.kernel_sizes = list(kernel_sizes)
        self.dilations = list(dilations)
        self.res2net_scale = res2net_scale
        self.se_channels = se_channels
        self.attention_channels = attention_channels
        self.hidden_size = hidden_size
        self.padding = _one_of("padding", padding, CONVOLUTION_PADDINGS)
        super().__init__(**kwargs)


class ResNet34Config(PretrainedConfig):
    """A ResNet speaker encoder of basic blocks, 34 layers deep by default.

    Args:
        num_mel_bins: M, height of the log-mel input.
        channels: C, width of the stem and the first stage; each of the three stages after it doubles the width.
        block_counts: basic blocks (two convolutions each) in each of the four stages.
        hidden_size: E, size of the embedding.

    Raises:
        ValueError: the stages are not four.

    Source: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016; sizes as in WeSpeaker
    (Wang et al., ICASSP 2023).
    """

    model_type = "raclap_resnet34"

    def __init__(
        self,
        num_mel_bins: int = 80,
        channels: int = 32,
        block_counts: tuple[int, ...] = (3, 4, 6, 3),
        hidden_size: int = 256,
        **kwargs: Any,
    ):
        if len(block_counts) != 4:
            raise ValueError(f"block_counts {block_counts} must name four stages")
        self.num_mel_bins = num_mel_bins
        self.channels = channels
        self.block_counts = list(block_counts)
        self.hidden_size = hidden_size
        super().__init__(**kwargs)


# Encoders of log-mel frames that give one embedding an utterance, by model_type.
SPEAKER_ENCODER_CONFIGS = {config.model_type: config for config in (EcapaTdnnConfig, ResNet34Config)}
# All that can be asked for an utterance embedding of their own.
_WITH_POOLER = (*SPEAKER_ENCODER_CONFIGS, "audio-spectrogram-transformer")


class RaClapConfig(PretrainedConfig):
    """Two towers, how each is pooled and projected, and the temperature.

    Args:
        audio_config: configuration (or its dict) of any transformers speech encoder, or of a speaker encoder
            (`EcapaTdnnConfig`, `ResNet34Config`). Of Whisper only the encoder is built. An adapter, which shortens
            the output of some encoders for a decoder, is left out: pooling reads the encoder's own layers.
        text_config: configuration (or its dict) of any transformers text encoder.
        projection_dim: D, size of the joint space.
        projection: `relu_mlp`, two linear layers with a ReLU between them (RA-CLAP), or `residual_mlp`, see
            `ResidualProjection` (ParaCLAP, ParaSpeechCLAP).
        projection_dropout: rate inside a `residual_mlp`, which alone has one.
        audio_pooling: `layer_weighted_mean` (Eq. 2), `last_mean` (mean over real frames of the encoder's output) or
            `pooler` (the encoder's own utterance embedding, which speaker encoders and AST have). None takes `pooler`
            for speaker encoders and Eq. 2 for all others.
        text_pooling: `mean` over tokens, `cls` (first token) or `layer_weighted_mean`.
        layer_weights: `softmax` (weights sum to one, equal at start) or `raw` (free numbers, 1/L at start).
        logit_scale_init: inverse of the starting temperature 0.07.
        logit_scale_max: the scale is kept in [1, this].
        tag_head: with a scale and a bias of their own for telling tags (`RaClapModel.tag_logits`).
        calibration: what this model's cosines mean, as `Calibration.to_dict` gives it; None: not calibrated.

    Raises:
        ValueError: a tower is missing, a choice is unknown, or the calibration is not as it should be.

    Source: RA-CLAP sections 2.1 and 3.2.
    """

    model_type = "raclap"
    # What is set for the whole (attention, dtype) is set for these too. Their classes are chosen in `__init__`.
    sub_configs = {"audio_config": AutoConfig, "text_config": AutoConfig}  # noqa: RUF012

    def __init__(
        self,
        audio_config: PretrainedConfig | dict | None = None,
        text_config: PretrainedConfig | dict | None = None,
        projection_dim: int = 512,
        projection: str = "relu_mlp",
        projection_dropout: float = 0.0,
        audio_pooling: str | None = None,
        text_pooling: str = "mean",
        layer_weights: str = "softmax",
        logit_scale_init: float = 1 / 0.07,
        logit_scale_max: float = 100.0,
        tag_head: bool = False,
        calibration: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        self.audio_config = _tower_config(audio_config, default="wavlm")
        self.text_config = _tower_config(text_config, default="roberta")
        # Pooling reads every layer: a dropped layer leaves no hidden state behind.
        for tower in (self.audio_config, self.text_config):
            for name in ("layerdrop", "encoder_layerdrop"):
                if getattr(tower, name, 0.0):
                    setattr(tower, name, 0.0)
        for name in ("use_intermediate_ffn_before_adapter", "add_adapter"):
            if getattr(self.audio_config, name, False):
                setattr(self.audio_config, name, False)
        audio_type = self.audio_config.model_type
        if audio_pooling is None:
            audio_pooling = "pooler" if audio_type in SPEAKER_ENCODER_CONFIGS else "layer_weighted_mean"
        self.projection_dim = projection_dim
        self.projection = _one_of("projection", projection, PROJECTIONS)
        if not 0.0 <= projection_dropout < 1.0:
            raise ValueError(f"projection_dropout {projection_dropout} is not between 0 and 1")
        if projection_dropout and projection != "residual_mlp":
            raise ValueError("projection_dropout belongs to the projection 'residual_mlp'")
        self.projection_dropout = projection_dropout
        self.audio_pooling = _one_of("audio_pooling", audio_pooling, AUDIO_POOLINGS)
        if self.audio_pooling == "pooler" and audio_type not in _WITH_POOLER:
            raise ValueError(f"audio_pooling 'pooler': a {audio_type} encoder gives no embedding of the utterance")
        if self.audio_pooling != "pooler" and audio_type in SPEAKER_ENCODER_CONFIGS:
            raise ValueError(f"audio_pooling '{audio_pooling}': {audio_type} pools by itself; take 'pooler'")
        self.text_pooling = _one_of("text_pooling", text_pooling, TEXT_POOLINGS)
        self.layer_weights = _one_of("layer_weights", layer_weights, LAYER_WEIGHTS)
        if not 1.0 <= logit_scale_init <= logit_scale_max:
            raise ValueError(f"logit_scale_init {logit_scale_init} is not between 1 and {logit_scale_max}")
        self.logit_scale_init = logit_scale_init
        self.logit_scale_max = logit_scale_max
        self.tag_head = tag_head
        if calibration is not None:
            Calibration.from_dict(calibration)  # what is wrong is said when a folder is loaded
        self.calibration = calibration
        kwargs.setdefault("attn_implementation", {})  # None would undo what a tower's own configuration says
        super().__init__(**kwargs)

    @property
    def audio_window_is_fixed(self) -> bool:
        """Whether the speech tower reads every clip in a window of one length, so that no padding can be saved."""
        return self.audio_config.model_type in FIXED_WINDOW_ENCODERS


def _tower_config(config: PretrainedConfig | dict | None, default: str) -> PretrainedConfig:
    if config is not None and not isinstance(config, dict):
        return config
    fields = dict(config or {})
    model_type = fields.pop("model_type", default)
    if model_type in SPEAKER_ENCODER_CONFIGS:
        return SPEAKER_ENCODER_CONFIGS[model_type](**fields)
    if model_type not in CONFIG_MAPPING:
        raise ValueError(f"model_type '{model_type}' is no encoder that this version of transformers knows")
    return CONFIG_MAPPING[model_type](**fields)


def _one_of(name: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ValueError(f"{name} '{value}' is not one of {', '.join(known)}")
    return value
