"""Both towers in ONNX Runtime against torch, on the same inputs in one run.

    python benchmarks/onnx_runtime.py                            the demo's model where it is, else one of its size
    python benchmarks/onnx_runtime.py --model FOLDER --clips 32  another model, more clips at once
    python benchmarks/onnx_runtime.py --rounds 3 --threads 1     a quick look, core for core

Clips of 2 to 6 s, padded to the longest; captions of 4 to 25 words. torch runs eagerly in inference mode, as
`get_audio_features` and `get_text_features` are called. The two take turns, and medians count.

    onnx_speedup_audio     time of torch over ONNX Runtime, prepared features to embeddings
    onnx_speedup_features  the same, waveforms to features; absent where there is no features.onnx
    onnx_speedup_text      the same, tokens to embeddings

Ends with one line of JSON.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import onnxruntime
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertConfig, PreTrainedTokenizerFast

from modeling_raclap import EcapaTdnnConfig, RaClapConfig, RaClapFeatureExtractor, RaClapModel, RaClapProcessor
from raclap.hub.onnx_export import export_onnx
from raclap.hub.onnx_graphs import waveform_batch
from raclap.model_folder import load_model_folder
from raclap.provenance import processor_name

DEMO = Path(__file__).parents[1] / "runs" / "demo_ra_clap" / "export"
SECONDS, WORDS = (2.0, 6.0), (4, 25)


def main() -> None:
    """Exports, times, and prints the ratios."""
    asked = arguments()
    torch.set_num_threads(asked.threads)
    model, processor = load_model_folder(asked.model) if asked.model else of_demo_size()
    of_what = asked.model or "random weights of the demo's size"
    print(f"{processor_name()}, {asked.threads} threads, {of_what}")
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        parity = export_onnx(model, processor, Path(folder) / "onnx")
        print(f"exported in {time.perf_counter() - began:.1f} s; {parity}")
        cases = ways(model, processor, Path(folder) / "onnx", asked)
        figures = {name: torch_over_onnx(name, asked.rounds, *pair) for name, pair in cases.items()}
    sizes = {"clips": asked.clips, "captions": asked.captions, "threads": asked.threads}
    ratios = {f"onnx_speedup_{name}": float(f"{value:.3g}") for name, value in figures.items()}
    print(json.dumps({**sizes, **ratios}))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=DEMO if DEMO.is_dir() else None, help="exported folder")
    parser.add_argument("--clips", type=int, default=16, help="of a batch (default 16)")
    parser.add_argument("--captions", type=int, default=32, help="of a batch (default 32)")
    parser.add_argument("--rounds", type=int, default=20, help="timed runs of each way (default 20)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each (default: one a core)")
    return parser.parse_args()


def of_demo_size() -> tuple[RaClapModel, RaClapProcessor]:
    """ECAPA-TDNN of the demo's recipe and a MiniLM, at random; words are numbers."""
    torch.manual_seed(0)
    speech = EcapaTdnnConfig(channels=192, mfa_channels=384, res2net_scale=4, se_channels=64, attention_channels=64)
    text = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
    model = RaClapModel(RaClapConfig(audio_config=speech, text_config=text, audio_pooling="pooler")).eval()
    words = Tokenizer(WordLevel({"[PAD]": 0, **{str(word): word for word in range(1, 1000)}}, unk_token="[PAD]"))
    words.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", model_max_length=512)
    extractor = RaClapFeatureExtractor(features="log_mel", window_seconds=0.04, hop_seconds=0.02)
    return model, RaClapProcessor(extractor, tokenizer)


def ways(
    model: RaClapModel, processor: RaClapProcessor, folder: Path, asked: argparse.Namespace
) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """What is timed: name to torch's way and ONNX Runtime's."""
    rng, extractor = np.random.default_rng(0), processor.feature_extractor
    rate = extractor.sampling_rate
    clips = [
        (0.1 * rng.standard_normal(round(rate * rng.uniform(*SECONDS)))).astype(np.float32) for _ in range(asked.clips)
    ]
    captions = [" ".join(map(str, rng.integers(1, 1000, rng.integers(*WORDS)))) for _ in range(asked.captions)]
    audio, text = extractor(clips, rate, prepared=True), processor(text=captions)
    found = {
        "audio": (lambda: model.get_audio_features(**audio), in_onnx(folder, "audio", audio, asked.threads)),
        "text": (lambda: model.get_text_features(**text), in_onnx(folder, "text", text, asked.threads)),
    }
    if (folder / "features.onnx").is_file():
        waveforms = waveform_batch(clips, extractor.shortest_samples)
        theirs = in_onnx(folder, "features", waveforms, asked.threads)
        found["features"] = (lambda: extractor(clips, rate, prepared=True), theirs)
    return found


def in_onnx(folder: Path, name: str, batch: Any, threads: int) -> Callable[[], Any]:
    """One run of a graph."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(folder / f"{name}.onnx", options, providers=["CPUExecutionProvider"])
    arrays = {key: value.numpy() for key, value in batch.items()}
    return lambda: session.run(None, arrays)


@torch.inference_mode()
def torch_over_onnx(name: str, rounds: int, in_torch: Callable[[], Any], in_runtime: Callable[[], Any]) -> float:
    """Ratio of median times, the two in turn after a first run that does not count."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for taken, work in zip(seconds, (in_torch, in_runtime), strict=True):
            began = time.perf_counter()
            work()
            if number:
                taken.append(time.perf_counter() - began)
    theirs, ours = map(statistics.median, seconds)
    print(f"{name}: torch {1000 * theirs:.1f} ms, ONNX Runtime {1000 * ours:.1f} ms")
    return theirs / ours


if __name__ == "__main__":
    main()
