"""Where people record, drop or pick a clip."""

from collections.abc import Sequence
from pathlib import Path

import gradio as gr

from raclap.page.gallery import GalleryClip


def clip_input(label: str, examples: Sequence[GalleryClip]) -> gr.Audio:
    """A recorder and a drop area, and clips to take instead.

    Returns:
        The component; its value is a path in gradio's own upload folder, or None.
    """
    audio = gr.Audio(label=label, sources=["upload", "microphone"], type="filepath", buttons=[])
    _take_no_addresses(audio)
    gr.Examples(
        [[str(clip.path)] for clip in examples], audio, label="Or take an example",
        example_labels=[", ".join(clip.facts[:3]) or clip.title for clip in examples],
    )  # fmt: skip
    return audio


def _take_no_addresses(audio: gr.Audio) -> None:
    """Gradio would fetch a clip that a request names by its address; this page opens no connection for anybody."""
    take = audio.async_move_resource_to_block_cache

    async def take_files_alone(path: str | Path | None) -> str | None:
        if path is not None and "://" in str(path):
            raise gr.Error("A clip has to be uploaded; addresses are not fetched.", print_exception=False)
        return await take(path)

    audio.async_move_resource_to_block_cache = take_files_alone
