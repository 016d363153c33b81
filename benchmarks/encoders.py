"""The encoders of both towers: sizes of published layouts, and their speed here. Writes docs/encoders.md.

    python benchmarks/encoders.py                               every row, some minutes and 5 GB of memory on two cores
    python benchmarks/encoders.py --only ECAPA-TDNN --rounds 1 --output /tmp/encoders.md

Parameters are counted without making them. For the speed a layout is built at random: how fast an encoder is does not
depend on what it has learned. All encoders of a tower take turns, so that a busy moment strikes them alike, and the
median counts. Ends with one line of JSON.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from modeling_raclap import RaClapConfig, RaClapModel
from modeling_raclap.modeling_raclap import build_tower
from raclap.provenance import processor_name
from raclap.recipe import ModelRecipe
from raclap.training.towers import feature_extractor

PAGE = Path(__file__).parents[1] / "docs" / "encoders.md"
SMALL_SPEECH = {"model_type": "raclap_ecapa_tdnn", "channels": 8, "mfa_channels": 8, "hidden_size": 8}
SMALL_TEXT = {
    "model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8,
}  # fmt: skip
CAPTIONS, TOKENS = 32, 28
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
XLSR_LIKE = {"model_type": "wav2vec2", **LARGE, **LAYER_NORM}
ROBERTA = {"max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": 1}


@dataclass(frozen=True)
class Encoder:
    """A row of the table.

    Attributes:
        family: as papers call it.
        layout: where the sizes were published.
        fields: those that differ from the defaults of the family's configuration.
        timed: whether its speed is measured; of several sizes of a family one is.
    """

    family: str
    layout: str
    fields: dict[str, Any]
    timed: bool = True


SPEECH = (
    Encoder("wav2vec 2.0", "facebook/wav2vec2-base", {"model_type": "wav2vec2"}),
    Encoder("wav2vec 2.0", "facebook/wav2vec2-large-lv60", XLSR_LIKE, timed=False),
    Encoder("HuBERT", "facebook/hubert-base-ls960", {"model_type": "hubert"}),
    Encoder("HuBERT", "facebook/hubert-large-ll60k", {**XLSR_LIKE, "model_type": "hubert"}, timed=False),
    Encoder("WavLM", "microsoft/wavlm-base-plus", {"model_type": "wavlm"}),
    Encoder(
        "WavLM", "microsoft/wavlm-large", {**XLSR_LIKE, "model_type": "wavlm", "conv_bias": False}, timed=False
    ),
    Encoder(
        "Whisper", "openai/whisper-small",
        {
            "model_type": "whisper", "d_model": 768, "encoder_layers": 12, "encoder_attention_heads": 12,
            "encoder_ffn_dim": 3072,
        },
    ),
    Encoder("wav2vec2-BERT", "facebook/w2v-bert-2.0", {"model_type": "wav2vec2-bert"}),
    Encoder(
        "AST", "MIT/ast-finetuned-audioset-10-10-0.4593", {"model_type": "audio-spectrogram-transformer"}
    ),
    Encoder(
        "ECAPA-TDNN", "SpeechBrain's spkrec-ecapa-voxceleb",
        {"model_type": "raclap_ecapa_tdnn", "channels": 1024, "mfa_channels": 3072},
    ),
    Encoder("ResNet-34", "WeSpeaker's ResNet34", {"model_type": "raclap_resnet34"}),
)  # fmt: skip
TEXT = (
    Encoder("BERT", "google-bert/bert-base-uncased", {"model_type": "bert", "vocab_size": 30522}),
    Encoder("RoBERTa", "FacebookAI/roberta-base", {"model_type": "roberta", "vocab_size": 50265, **ROBERTA}),
    Encoder(
        "XLM-RoBERTa", "FacebookAI/xlm-roberta-base", {"model_type": "xlm-roberta", "vocab_size": 250002, **ROBERTA}
    ),
    Encoder(
        "DeBERTa-v2 and -v3", "microsoft/deberta-v3-base",
        {
            "model_type": "deberta-v2", "vocab_size": 128100, "hidden_size": 768, "num_hidden_layers": 12,
            "num_attention_heads": 12, "intermediate_size": 3072, "relative_attention": True,
            "position_buckets": 256, "norm_rel_ebd": "layer_norm", "share_att_key": True, "pos_att_type": "p2c|c2p",
            "position_biased_input": False, "max_relative_positions": -1, "type_vocab_size": 0,
        },
    ),
    Encoder("MPNet", "microsoft/mpnet-base", {"model_type": "mpnet", "vocab_size": 30527, **ROBERTA}),
    Encoder("ModernBERT", "answerdotai/ModernBERT-base", {"model_type": "modernbert"}),
    Encoder("DistilBERT", "distilbert/distilbert-base-uncased", {"model_type": "distilbert"}),
)  # fmt: skip
TEMPLATE = """# Encoders

<!-- Written by benchmarks/encoders.py; change it there. -->

Either tower is any encoder of these families, by its Hub name, from a folder, or from a configuration at random
(`model.speech.pretrained`, `model.speech.config` and the same of `model.text`, except that a text tower needs
`pretrained`, for its tokenizer). The tests hold small ones of each family, in the layout that it is published in, to
this: a clip or a caption alone and in a padded batch have the same embedding to 1e-5 in single precision, whatever the
pooling; an exported folder gives the embeddings of the model that was exported; and every weight that is trained gets
a gradient. The published weights themselves are no part of the tests.

## Speech

{speech}

Parameters are those of the encoder as a tower has it: no decoder, no head, no adapter. Frames are those of the
encoder's output. Clips per second: {seconds:g} s each, {batch} at a time, forward only, from prepared input to
embedding, single precision, {threads} thread(s); a layout of this size at random.

- **Group norm** of wav2vec 2.0, HuBERT and WavLM in their base sizes normalises a channel over time. It is taken over
  the real frames alone, or an embedding would depend on how long its neighbours are.
- **WavLM** attends through scaled-dot-product attention or FlexAttention, under the names of its published weights.
- **Whisper** reads 30 s, no more and no less: what a clip leaves of it is silence, which the encoder attends to, as it
  did when it was trained. Only frames of the clip are pooled. Of a whole Whisper the encoder's weights alone are read.
- **wav2vec2-BERT** brings every mel bin of a clip to zero mean and unit variance, as it was trained: how loud a clip
  is cannot be told from what it reads. An adapter, which shortens the output for a decoder, is left out.
- **AST** reads 1,024 log-mel frames, shorter clips padded as when it was trained. Patches that lie wholly in the clip
  are pooled, and not its two tokens; `model.audio_pooling: pooler` takes these alone. It was trained on AudioSet.
- **Speaker encoders** pool by themselves, and give one vector a clip.

Whisper, wav2vec2-BERT and AST hear through the feature extractors that transformers has for them, whose settings come
with the weights and can be set in `model.features.stock`. None needs torchaudio. A clip longer than the window is an
error that names both lengths, in training (`data.crop_seconds`) before the first step; `--skip-bad` leaves clips of
validation and test out that are too long.

## Text

{text}

Captions per second: {tokens} tokens each, {captions} at a time, otherwise as above. Captions are cut to what the tower
reads, whether its tokenizer knows that or not. Pooled are all tokens but padding (`mean`), the first (`cls`), or all
layers (`layer_weighted_mean`). ELECTRA and ALBERT are tested too; others of transformers may well work.

## Training a part

`freeze: true` keeps a tower, `freeze_layers: N` its input and first N layers, `lora: {{rank: 8}}` all of its weights
while low-rank corrections of its attention are learned (`pip install 'raclap[lora]'`). These work with every family
above; LoRA not with speaker encoders, which have no attention and are small. A folder that is exported holds the
corrected weights.

## How this page was made

`{command}`, {date}, {machine}, torch {torch}, {threads} thread(s), {rounds} round(s).
"""


def main() -> None:
    """Counts, measures, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    families = sorted({encoder.family for encoder in (*SPEECH, *TEXT)})
    parser.add_argument(
        "--only", nargs="+", choices=families, metavar="FAMILY", help="time these; the others get no figure"
    )
    parser.add_argument("--rounds", type=int, default=5, help="timed runs of each encoder")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a clip")
    parser.add_argument("--batch", type=int, default=4, help="clips in a batch")
    parser.add_argument("--threads", type=int, help="of torch; left out: its default")
    parser.add_argument("--output", type=Path, default=PAGE)
    asked = parser.parse_args()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    wanted = set(asked.only or families)
    clips = [noise(asked.seconds, number) for number in range(asked.batch)]
    speech_speed = speeds(SPEECH, wanted, lambda row: hear(row, clips), asked.batch, asked.rounds)
    text_speed = speeds(TEXT, wanted, read, CAPTIONS, asked.rounds)
    page = TEMPLATE.format(
        speech=table(SPEECH, speech_speed, "clips/s"),
        text=table(TEXT, text_speed, "captions/s"),
        seconds=asked.seconds,
        batch=asked.batch,
        tokens=TOKENS,
        captions=CAPTIONS,
        command=" ".join(["python benchmarks/encoders.py", *sys.argv[1:]]),
        date=time.strftime("%Y-%m-%d"),
        machine=processor_name(),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        rounds=asked.rounds,
    )
    asked.output.write_text(page, encoding="utf-8")
    print(json.dumps({**speech_speed, **text_speed}))


def noise(seconds: float, seed: int) -> np.ndarray:
    """A clip of which nothing matters but its length."""
    return 0.1 * np.random.default_rng(seed).standard_normal(round(16_000 * seconds)).astype(np.float32)


def speeds(
    rows: tuple[Encoder, ...],
    wanted: set[str],
    prepare: Callable[[Encoder], Callable[[], Any]],
    items: int,
    rounds: int,
) -> dict[str, float]:
    """Items a second by layout: the encoders take turns, each once before it counts."""
    calls = {row.layout: prepare(row) for row in rows if row.timed and row.family in wanted}
    seconds: dict[str, list[float]] = {layout: [] for layout in calls}
    with torch.inference_mode():
        for number in range(rounds + 1):
            for layout, call in calls.items():
                began = time.perf_counter()
                call()
                if number:
                    seconds[layout].append(time.perf_counter() - began)
    found = {layout: round(items / statistics.median(times), 3) for layout, times in seconds.items()}
    for layout, speed in found.items():
        print(f"{layout}: {speed} a second")
    return found


def hear(row: Encoder, clips: list[np.ndarray]) -> Callable[[], Any]:
    """Embeds the clips by a layout at random."""
    torch.manual_seed(0)
    model = RaClapModel(RaClapConfig(audio_config=row.fields, text_config=SMALL_TEXT)).eval()
    inputs = extractor_of(row, model.config)(clips, prepared=True)
    return lambda: model.get_audio_features(**inputs)


def read(row: Encoder) -> Callable[[], Any]:
    """Embeds made-up captions by a layout at random."""
    torch.manual_seed(0)
    model = RaClapModel(RaClapConfig(audio_config=SMALL_SPEECH, text_config=row.fields)).eval()
    tokens = torch.randint(1000, 30_000, (CAPTIONS, TOKENS))
    return lambda: model.get_text_features(tokens, torch.ones_like(tokens))


def extractor_of(row: Encoder, config: RaClapConfig) -> Any:
    """As a recipe that starts from this configuration has it."""
    return feature_extractor(ModelRecipe.model_validate({"speech": {"config": row.fields}}), config)


def table(rows: tuple[Encoder, ...], speed: dict[str, float], unit: str) -> str:
    """The rows in Markdown."""
    of_speech = rows is SPEECH
    hears = ["reads", "longest clip", "frames/s"] if of_speech else []
    head = ["family", "layout", "parameters", "hidden size", *hears, "norms", "attention", unit]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        section = {"audio_config": row.fields} if of_speech else {"text_config": row.fields}
        config = RaClapConfig(**section)
        tower_config = config.audio_config if of_speech else config.text_config
        if hasattr(tower_config, "mask_time_prob"):
            tower_config.mask_time_prob = 0.0
        with torch.device("meta"):
            tower = build_tower(tower_config, **({} if of_speech else {"add_pooling_layer": False}))
        count = sum(weight.numel() for weight in tower.parameters())
        heard = list(input_of(row, config)) if of_speech else []
        lines.append(
            [
                row.family,
                row.layout,
                f"{count / 1e6:.1f} M",
                str(tower_config.hidden_size),
                *heard,
                norms(tower),
                attention(tower),
                f"{speed[row.layout]:.2f}" if row.layout in speed else "-",
            ]
        )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def input_of(row: Encoder, config: RaClapConfig) -> tuple[str, str, str]:
    """What a speech encoder reads, the longest clip, and the frames that it makes of a second."""
    extractor = extractor_of(row, config)
    reads = {"waveform": "waveform", "log_mel": "log-mel"}.get(extractor.features)
    reads = reads or f"log-mel of {extractor.stock['feature_extractor_type'].removesuffix('FeatureExtractor')}"
    longest = extractor.longest_seconds
    return reads, "any" if longest is None else f"{longest:.2f} s", f"{frame_rate(config.audio_config):g}"


def frame_rate(config: PretrainedConfig) -> float:
    """Frames a second; log-mel frames come every 10 ms."""
    if hasattr(config, "conv_stride"):
        return 16_000 / prod(config.conv_stride)
    halvings = {"whisper": 2, "wav2vec2-bert": 2, "raclap_ecapa_tdnn": 1, "raclap_resnet34": 8}
    return 100 / halvings.get(config.model_type, getattr(config, "time_stride", 1))


def norms(tower: PreTrainedModel) -> str:
    """The kinds of normalisation in it."""
    kinds = {"group": nn.GroupNorm, "layer": nn.LayerNorm, "batch": (nn.BatchNorm1d, nn.BatchNorm2d)}
    return ", ".join(name for name, kind in kinds.items() if any(isinstance(m, kind) for m in tower.modules()))


def attention(tower: PreTrainedModel) -> str:
    """The implementations that `attn_implementation` chooses from."""
    if tower.config.model_type.startswith("raclap_"):
        return "none"
    known = {"sdpa": "_supports_sdpa", "flex": "_supports_flex_attn", "flash": "_supports_flash_attn"}
    return ", ".join(["eager", *(name for name, flag in known.items() if getattr(tower, flag, False))])


if __name__ == "__main__":
    main()
