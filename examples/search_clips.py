"""Finds the clips of a folder that sound most like a description, with nothing but transformers.

    python examples/search_clips.py runs/demo/export FOLDER_OF_CLIPS "a man speaking slowly and quietly" ["..."]

The model folder carries its own code, so this package need not be installed.
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoModel, AutoProcessor

SUFFIXES = {".wav", ".flac", ".ogg", ".mp3"}
BATCH = 32


def main() -> None:
    """Embeds every clip and every description, prints the nearest clips of each description."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="model folder or Hub name")
    parser.add_argument("clips", type=Path, help="folder of clips, searched with its subfolders")
    parser.add_argument("description", nargs="+", help="how the wanted speech sounds")
    parser.add_argument("--top", type=int, default=3, help="clips to show for each description")
    arguments = parser.parse_args()

    model = AutoModel.from_pretrained(arguments.model, trust_remote_code=True).eval()
    processor = AutoProcessor.from_pretrained(arguments.model, trust_remote_code=True)
    paths = sorted(path for path in arguments.clips.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        parser.error(f"{arguments.clips}: no audio files ({', '.join(sorted(SUFFIXES))})")

    with torch.inference_mode():
        clips = torch.cat(
            [
                model.get_audio_features(**processor(audio=paths[first : first + BATCH])).pooler_output
                for first in range(0, len(paths), BATCH)
            ]
        )
        descriptions = model.get_text_features(**processor(text=arguments.description)).pooler_output

    for description, scores in zip(arguments.description, descriptions @ clips.T, strict=True):
        print(f"\n{description}")
        for score, index in zip(*scores.topk(min(arguments.top, len(paths))), strict=True):
            print(f"  {score:.3f}  {paths[index]}")


if __name__ == "__main__":
    main()
