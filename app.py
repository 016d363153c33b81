"""The page in the browser: judge a clip, find a voice, compare two models.

    python app.py                                        the models of `make demo`, and voices spoken here
    python app.py --model mine=runs/mine/export          another model; several may be named
    python app.py --gallery FOLDER                       search your own recordings
    python app.py --space FOLDER                         write a folder to upload as a Space, and stop

docs/page.md shows the page.
"""

import argparse
import os
from functools import partial
from pathlib import Path

from raclap.console import exits_cleanly, positive

CLIPS, MOST_CLIPS = 36, 1_000


@exits_cleanly
def main() -> None:
    """Loads the models, embeds the gallery and serves the page."""
    arguments = parse_arguments()
    from transformers.utils.logging import disable_progress_bar

    from raclap.corpora.synthetic import default_cache
    from raclap.page.models import choose_models

    root = Path(__file__).parent
    folders = choose_models(arguments.model, os.environ, root)
    if arguments.space is not None:
        from raclap.page.space import write_space

        write_space(arguments.space, root, folders)
        print(f"{arguments.space}: to be uploaded with: hf upload USER/NAME {arguments.space} --repo-type space")
        return
    from raclap.page.answers import Answers
    from raclap.page.gallery import synthesised_gallery, users_gallery
    from raclap.page.layout import build_page
    from raclap.page.scoring import PageModel
    from raclap.page.server import serve

    disable_progress_bar()
    kept = default_cache() / "page"
    if arguments.gallery is None:
        gallery = synthesised_gallery(arguments.clips or CLIPS, kept)
    else:
        gallery = users_gallery(arguments.gallery, arguments.clips or MOST_CLIPS)
    models = {name: PageModel(folder, gallery, kept / "embeddings") for name, folder in folders.items()}
    bad = {path: reason for model in models.values() for path, reason in model.bad.items()}
    for path, reason in bad.items():
        print(f"left out {path}: {reason}")
    good = [clip for clip in gallery if str(clip.path) not in bad]
    build = partial(build_page, Answers(models), list(models), good)
    serve(build, [clip.path for clip in gallery], arguments.host, arguments.port, arguments.share)


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model",
        metavar="NAME=FOLDER",
        action="append",
        default=[],
        help="exported model; may be given several times",
    )
    parser.add_argument("--gallery", type=Path, metavar="PATH", help="folder of recordings, or a manifest, to search")
    parser.add_argument(
        "--clips", type=positive, metavar="N",
        help=f"clips to speak (default: {CLIPS}), or the most to take of --gallery (default: {MOST_CLIPS})",
    )  # fmt: skip
    parser.add_argument("--host", help="name or address to listen at (default: this machine alone)")
    parser.add_argument("--port", type=positive, help="default: the first that is free from 7860 on")
    parser.add_argument("--share", action="store_true", help="make a public address, through a server of gradio's")
    parser.add_argument("--space", type=Path, metavar="FOLDER", help="write a folder that runs the page as a Space")
    return parser.parse_args()


if __name__ == "__main__":
    main()
