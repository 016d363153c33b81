"""What becomes an ONNX graph: each tower with its projection, and the way from waveforms to the speech tower's inputs.

Shapes: B clips or captions, S samples, F frames, M mel bins, N tokens, D joint size.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from modeling_raclap import RaClapFeatureExtractor, RaClapModel, RaClapProcessor
from modeling_raclap.feature_extraction_raclap import standardise

_SEED = 0
_TRACED_SECONDS = (0.9, 0.6)
# Other numbers of clips and other lengths than were traced: alone, ragged, alike.
_CHECKED_SECONDS = ((1.3,), (0.7, 0.1, 1.7, 0.33), (0.5, 0.5))
_TRACED_CAPTIONS = ("a quiet voice", "a woman speaks fast and in a high voice")
_CHECKED_CAPTIONS = (
    ("someone talks",),
    ("slow", "an old man who sounds tired and speaks slowly, in a deep voice", "loud and angry speech"),
    ("a child laughs", "a child laughs"),
)


@dataclass(frozen=True)
class Graph:
    """What the exporter is given, and what its result is compared with.

    Attributes:
        name: of the file, without suffix.
        module: maps the inputs, by position, to the outputs.
        outputs: their names.
        traced: one batch by input name, in the module's order.
        checked: further batches, the last of another length than the traced one.
        dynamic_axes: of each input: axis to name.
    """

    name: str
    module: nn.Module
    outputs: tuple[str, ...]
    traced: Mapping[str, Tensor]
    checked: tuple[Mapping[str, Tensor], ...]
    dynamic_axes: tuple[Mapping[int, str], ...]

    @property
    def batches(self) -> tuple[Mapping[str, Tensor], ...]:
        """The traced one and the others. Those of `features` and of `audio` are made from the same clips."""
        return self.traced, *self.checked


class Embedding(nn.Module):
    """Inputs of one tower to (B, D) unit embeddings.

    Args:
        model: whose.
        method: of the model: `get_audio_features` or `get_text_features`.
        names: of its arguments that are the inputs.
    """

    def __init__(self, model: RaClapModel, method: str, names: Iterable[str]):
        super().__init__()
        self.model = model
        self.method = method
        self.names = tuple(names)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Embeds; the inputs are in the order of `names`."""
        return getattr(self.model, self.method)(**dict(zip(self.names, inputs, strict=True))).pooler_output


class SpeechFeatures(nn.Module):
    """Waveforms to inputs of the speech tower, as the feature extractor makes them from mono clips at its rate."""

    def __init__(self, extractor: RaClapFeatureExtractor):
        super().__init__()
        self.extractor = extractor

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Samples (B, S), zero beyond each clip's end, and lengths (B,) to (B, S) or (B, F, M) and their mask.

        S is at least `shortest_samples` of the feature extractor; shorter clips count as that long.
        """
        extractor, (values, lengths) = self.extractor, inputs
        lengths = lengths.clamp(min=extractor.shortest_samples)
        if extractor.features == "log_mel":
            values, lengths = extractor._log_mel(values, lengths)
        elif extractor.normalize == "utterance":
            values = standardise(values, lengths, axis_has_std=True)
        real = torch.arange(values.shape[1]) < lengths[:, None]
        return values.masked_fill(~real.view(*real.shape, *(1,) * (values.dim() - 2)), 0.0), real.long()


def graphs_of(model: RaClapModel, processor: RaClapProcessor) -> list[Graph]:
    """The graphs of a model on the CPU: `text`, `audio` and, but for features of transformers' own, `features`."""
    graphs = [_text_graph(model, processor), _audio_graph(model, processor)]
    if processor.feature_extractor.features != "stock":
        graphs.append(_features_graph(processor.feature_extractor))
    return graphs


def waveform_batch(clips: list[np.ndarray], shortest: int) -> dict[str, Tensor]:
    """Inputs of the graph `features`."""
    lengths = [len(clip) for clip in clips]
    waveforms = torch.zeros(len(clips), max(*lengths, shortest))
    for row, clip in zip(waveforms, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(clip)
    return {"waveforms": waveforms, "lengths": torch.tensor(lengths)}


def _text_graph(model: RaClapModel, processor: RaClapProcessor) -> Graph:
    traced = dict(processor(text=list(_TRACED_CAPTIONS)))
    return Graph(
        "text",
        Embedding(model, "get_text_features", traced),
        ("text_embeds",),
        traced,
        tuple(dict(processor(text=list(captions))) for captions in _CHECKED_CAPTIONS),
        tuple({0: "captions", 1: "tokens"} for _ in traced),
    )


def _audio_graph(model: RaClapModel, processor: RaClapProcessor) -> Graph:
    extractor = processor.feature_extractor
    traced = _prepared(extractor, _TRACED_SECONDS)
    length = "samples" if extractor.features == "waveform" else "frames"
    axes = {0: "clips"} if model.config.audio_window_is_fixed else {0: "clips", 1: length}
    return Graph(
        "audio",
        Embedding(model, "get_audio_features", traced),
        ("audio_embeds",),
        traced,
        tuple(_prepared(extractor, seconds) for seconds in _CHECKED_SECONDS),
        tuple(axes for _ in traced),
    )


def _features_graph(extractor: RaClapFeatureExtractor) -> Graph:
    return Graph(
        "features",
        SpeechFeatures(extractor),
        tuple(_prepared(extractor, _TRACED_SECONDS)),
        _waveforms(extractor, _TRACED_SECONDS),
        tuple(_waveforms(extractor, seconds) for seconds in _CHECKED_SECONDS),
        ({0: "clips", 1: "samples"}, {0: "clips"}),
    )


def _prepared(extractor: RaClapFeatureExtractor, seconds: tuple[float, ...]) -> dict[str, Tensor]:
    clips = _clips(extractor.sampling_rate, seconds)
    return dict(extractor(clips, extractor.sampling_rate, prepared=True))


def _waveforms(extractor: RaClapFeatureExtractor, seconds: tuple[float, ...]) -> dict[str, Tensor]:
    return waveform_batch(_clips(extractor.sampling_rate, seconds), extractor.shortest_samples)


def _clips(rate: int, seconds: tuple[float, ...]) -> list[np.ndarray]:
    """Noise that comes and goes, mono float32."""
    rng = np.random.default_rng([_SEED, len(seconds)])
    clips = []
    for duration in seconds:
        envelope = np.sin(np.linspace(0.1, 9, round(duration * rate))) ** 2
        envelope[envelope < 0.1] = 0.0  # digital silence, where logarithms have only their floor
        clips.append((0.3 * rng.standard_normal(len(envelope)) * envelope).astype(np.float32))
    return clips
