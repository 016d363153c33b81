"""`raclap push`: a model folder to the Hugging Face Hub."""

import argparse
from pathlib import Path


def add_push(commands: argparse._SubParsersAction) -> None:
    """Adds the command and its options."""
    parser = commands.add_parser(
        "push",
        help="send a model folder to the Hugging Face Hub",
        description=(
            "Sends FOLDER to the Hub: large files first, then all changes in one commit, which is then compared with "
            "the folder. If it breaks off, the repository is as before; run it again to go on. A missing repository "
            "is made. One that holds a model of this package is updated: files that an export writes and that FOLDER "
            "no longer has are deleted, what you added there by hand stays. The token is that of 'hf auth login' or "
            "HF_TOKEN; HF_ENDPOINT names another Hub."
        ),
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="exported model, with its README.md")
    parser.add_argument("repo", metavar="REPO", help="USER/NAME, or NAME for your own account")
    parser.add_argument("--dry-run", action="store_true", help="list what would be sent and deleted; send nothing")
    parser.add_argument(
        "--private", action="store_true", help="make a new repository private; refuse one that is public"
    )
    parser.add_argument("--revision", default="main", metavar="BRANCH", help="branch, made from main if missing")
    parser.add_argument("--message", type=_not_empty, default="Upload model", help="of the commit")
    parser.add_argument("--create-pr", action="store_true", help="open a pull request instead of writing to main")
    parser.add_argument(
        "--force", action="store_true", help="write into a repository that holds something else; its files stay"
    )
    parser.add_argument(
        "--mirror", action="store_true", help="delete whatever FOLDER does not have, also what you added by hand"
    )
    parser.set_defaults(run=_push)


def _push(arguments: argparse.Namespace) -> None:
    from huggingface_hub import HfApi

    from raclap import __version__
    from raclap.hub.push import push
    from raclap.hub.push_listing import destination, listing
    from raclap.hub.push_plan import Target, plan_push

    api = HfApi(library_name="raclap", library_version=__version__)
    target = Target(
        arguments.repo, arguments.revision, arguments.message, arguments.private, arguments.create_pr,
        arguments.force, arguments.mirror,
    )  # fmt: skip
    plan = plan_push(arguments.folder, target, api, arguments.dry_run)
    print(f"{arguments.folder} to {api.endpoint}/{plan.target.repo}, {destination(plan)}")
    print(listing(plan))
    if arguments.dry_run:
        print("dry run: nothing was sent")
    elif plan.changes_nothing:
        print(f"nothing to change: commit {plan.remote.head} holds this folder already")
    else:
        pushed = push(plan, api)
        print(f"{pushed.url}: commit {pushed.commit}, checked against the folder file by file")
        print(f'AutoModel.from_pretrained("{pushed.repo}", revision="{pushed.commit}", trust_remote_code=True)')


def _not_empty(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    return text
