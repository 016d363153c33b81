"""Finds the clips of a folder that sound most like a description, without torch and transformers.

    pip install onnxruntime tokenizers soundfile soxr
    python examples/onnx_search.py OUT/onnx FOLDER_OF_CLIPS "a man speaking slowly and quietly" ["..."]

OUT/onnx is what `raclap export RUN OUT --onnx` writes.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
import soxr
from tokenizers import Tokenizer

SUFFIXES = {".wav", ".flac", ".ogg", ".mp3"}
BATCH = 32


class OnnxModel:
    """The graphs of one folder.

    Args:
        folder: holds audio.onnx, text.onnx, features.onnx and tokenizer.json.

    Raises:
        SystemExit: the folder lacks one of them, or the model wants silence trimmed, which is not done here.
    """

    def __init__(self, folder: Path):
        for name in ("audio.onnx", "text.onnx", "features.onnx", "tokenizer.json"):
            if not (folder / name).is_file():
                raise SystemExit(f"{folder}: holds no {name} (docs/onnx.md says which models have one)")
        self.text, self.audio, self.features = (
            onnxruntime.InferenceSession(folder / f"{name}.onnx") for name in ("text", "audio", "features")
        )
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.facts = self.audio.get_modelmeta().custom_metadata_map
        if json.loads(self.facts["feature_extractor"])["trim_silence_db"] is not None:
            raise SystemExit(f"{folder}: this model's clips are trimmed before they are embedded; use its processor")

    def embed_texts(self, texts: list[str]) -> np.ndarray:
        """(texts, D) unit vectors."""
        encoded = self.tokenizer.encode_batch(texts)
        inputs = {
            "input_ids": [row.ids for row in encoded],
            "attention_mask": [row.attention_mask for row in encoded],
            "token_type_ids": [row.type_ids for row in encoded],
        }
        names = [read.name for read in self.text.get_inputs()]
        return self.text.run(None, {name: np.array(inputs[name], dtype=np.int64) for name in names})[0]

    def embed_clips(self, paths: list[Path]) -> np.ndarray:
        """(clips, D) unit vectors."""
        clips = [self._load(path) for path in paths]
        lengths = np.array([len(clip) for clip in clips])
        waveforms = np.zeros((len(clips), max(*lengths, int(self.facts["shortest_samples"]))), dtype=np.float32)
        for row, clip in zip(waveforms, clips, strict=True):
            row[: len(clip)] = clip
        names = [made.name for made in self.features.get_outputs()]
        features = self.features.run(None, {"waveforms": waveforms, "lengths": lengths})
        return self.audio.run(None, dict(zip(names, features, strict=True)))[0]

    def probability(self, cosines: np.ndarray) -> np.ndarray | None:
        """That a description fits a clip, at even odds; None: the model is not calibrated."""
        calibration = json.loads(self.facts["calibration"])
        if calibration is None:
            return None
        return 1 / (1 + np.exp(-calibration["slope"] * cosines - calibration["intercept"]))

    def _load(self, path: Path) -> np.ndarray:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        if not samples.any():
            raise SystemExit(f"{path}: no sound in it")
        return soxr.resample(samples.mean(axis=1), rate, int(self.facts["sampling_rate"]), quality="HQ")


def main() -> None:
    """Embeds every clip and every description, prints the nearest clips of each description."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder of the graphs")
    parser.add_argument("clips", type=Path, help="folder of clips, searched with its subfolders")
    parser.add_argument("description", nargs="+", help="how the wanted speech sounds")
    parser.add_argument("--top", type=int, default=3, help="clips to show for each description")
    arguments = parser.parse_args()

    model = OnnxModel(arguments.model)
    paths = sorted(path for path in arguments.clips.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        parser.error(f"{arguments.clips}: no audio files ({', '.join(sorted(SUFFIXES))})")
    clips = np.concatenate([model.embed_clips(part) for part in batches(paths)])
    cosines = model.embed_texts(arguments.description) @ clips.T
    probabilities = model.probability(cosines)
    scores = cosines if probabilities is None else probabilities
    for description, row in zip(arguments.description, scores, strict=True):
        print(f"\n{description}")
        for index in np.argsort(-row, kind="stable")[: arguments.top]:
            print(f"  {row[index]:.3f}  {paths[index]}")


def batches(paths: list[Path]) -> Iterator[list[Path]]:
    """A few clips at a time."""
    for first in range(0, len(paths), BATCH):
        yield paths[first : first + BATCH]


if __name__ == "__main__":
    main()
