"""A model folder to the Hub: large files ahead, then everything in one commit, then a look at what has arrived."""

from dataclasses import dataclass

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HTTPError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers, get_session

from raclap.errors import HubError
from raclap.hub.hub_answers import answered, explained, meaning
from raclap.hub.push_plan import Plan, compare
from raclap.hub.remote_model import read_files, read_remote

_UNTOUCHED = "no file of the repository has changed; run the same command again to go on"
_NO_PATTERNS = "\n"  # a .gitignore that leaves nothing out: what the plan lists travels


@dataclass(frozen=True)
class Pushed:
    """What a push made.

    Args:
        repo: USER/NAME.
        commit: its hash.
        url: page of the commit, or of the pull request.
    """

    repo: str
    commit: str
    url: str


def push(plan: Plan, api: HfApi) -> Pushed:
    """Carries out a plan that changes something.

    Nothing of it is seen before the one commit; what breaks off can be run again, and does not send large files twice.

    Raises:
        HubError: the Hub refuses or cannot be reached, or holds something else than was sent.
    """
    _ask_about_card(plan, api)
    if not plan.remote.exists:
        with explained(f"creating {plan.target.repo}", api.endpoint):
            api.create_repo(plan.target.repo, private=plan.target.private or None)
        plan = compare(plan.files, read_remote(api, plan.target.repo, plan.target.branch), plan.target)
    additions = [CommitOperationAdd(file.name, file.path) for file in plan.send]
    _send_large_files(plan, additions, api)
    _make_branch(plan, api)
    commit, url, revision = _commit(plan, additions, api)
    _check_arrived(plan, read_files(api, plan.target.repo, revision), commit)
    return Pushed(plan.target.repo, commit, url)


def _ask_about_card(plan: Plan, api: HfApi) -> None:
    """Asks the Hub about the card's metadata before anything large is sent for nothing."""
    card = next((file for file in plan.send if file.name == "README.md"), None)
    if card is None:
        return
    with explained("asking about the metadata of README.md", api.endpoint):
        answer = get_session().post(
            f"{api.endpoint}/api/validate-yaml",
            json={"content": card.path.read_text(encoding="utf-8"), "repoType": "model"},
            headers=build_hf_headers(token=api.token),
        )
        errors = [error["message"] for error in answer.json().get("errors", [])] if answer.status_code == 400 else []
    if errors:
        raise HubError(f"{card.path}: the Hub does not accept its metadata ({'; '.join(errors)})")


def _send_large_files(plan: Plan, additions: list[CommitOperationAdd], api: HfApi) -> None:
    branch = plan.target.branch if plan.target.branch in plan.remote.branches else "main"
    with explained(f"sending files to {plan.target.repo}", api.endpoint, _UNTOUCHED):
        api.preupload_lfs_files(
            plan.target.repo,
            additions,
            revision=branch,
            create_pr=plan.target.create_pr,
            free_memory=False,
            gitignore_content=_NO_PATTERNS,
        )


def _make_branch(plan: Plan, api: HfApi) -> None:
    """Makes a missing branch where the plan looked: at the head of main."""
    branch = plan.target.branch
    if branch not in plan.remote.branches and plan.remote.branches:
        with explained(f"making the branch '{branch}' of {plan.target.repo}", api.endpoint, _UNTOUCHED):
            api.create_branch(plan.target.repo, branch=branch, revision=plan.remote.head)


def _commit(plan: Plan, additions: list[CommitOperationAdd], api: HfApi) -> tuple[str, str, str]:
    """Makes the one commit: its hash, its page, and the revision at which its files can be listed."""
    target = plan.target
    doing = f"making the commit in {target.repo}"
    try:
        made = api.create_commit(
            target.repo,
            [*additions, *(CommitOperationDelete(name, is_folder=False) for name in plan.delete)],
            commit_message=target.message,
            revision=target.branch,
            create_pr=target.create_pr,
            parent_commit=plan.remote.head,
        )
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        failure = f"{doing}: {meaning(error, api.endpoint)}"
        if answered(error):
            raise HubError(f"{failure}; {_UNTOUCHED}") from error
        if target.create_pr:
            raise HubError(f"{failure}; look whether the pull request is there before you run it again") from error
        commit = _made_nevertheless(plan, api, failure)
        return commit, f"{api.endpoint}/{target.repo}/commit/{commit}", commit
    return made.oid, made.pr_url or made.commit_url, made.pr_revision or made.oid


def _made_nevertheless(plan: Plan, api: HfApi, failure: str) -> str:
    """The answer to a commit was lost: looks whether it was made, and gives its hash.

    Raises:
        HubError: it was not, or that cannot be seen.
    """
    try:
        remote = read_remote(api, plan.target.repo, plan.target.branch)
    except HubError as error:
        raise HubError(f"{failure}; whether it was made is not known, the same command run again will tell") from error
    if not compare(plan.files, remote, plan.target).changes_nothing:
        raise HubError(f"{failure}; {_UNTOUCHED}")
    return remote.head


def _check_arrived(plan: Plan, there: dict[str, RepoFile], commit: str) -> None:
    """Compares the commit with the folder, file by file: size, and SHA-256 or git's own hash."""
    for file in plan.files:
        if not file.same_as(there.get(file.name)):
            raise HubError(
                f"{plan.target.repo}: {file.name} at commit {commit} is not the one in the folder, which has perhaps "
                "changed while it was sent; run the same command again"
            )
    left = next((name for name in plan.delete if name in there), None)
    if left:
        raise HubError(f"{plan.target.repo}: {left} is still there at commit {commit}; run the same command again")
