"""What a push would change: the files of a model folder beside those of a repository of the Hub."""

import hashlib
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import HfApi, ModelCard, get_token, is_offline_mode, metadata_load
from huggingface_hub.errors import HFValidationError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import validate_repo_id
from tqdm import tqdm

from raclap.errors import HubError, ModelFolderError
from raclap.hub.hub_answers import NO_TOKEN, OFFLINE, explained
from raclap.hub.remote_model import RemoteModel, is_exported, read_remote
from raclap.model_folder_check import check_model_folder, model_files

_LARGEST_FILE = 50 * 10**9  # bytes; the Hub takes no larger file by LFS
_LARGEST_IN_COMMIT = 10 * 10**6  # bytes; the Hub sends larger ones by LFS, and all that is not text
_READ_AT_ONCE = 1 << 20  # bytes
_COMMIT = re.compile(r"[0-9a-f]{40}")
_BRANCH = re.compile(r"(?!refs/)(?!.*(\.\.|//|\.lock$|/$|\.$))[\w][\w./-]*")


@dataclass(frozen=True)
class Target:
    """Where a folder goes, and how.

    Args:
        repo: USER/NAME, or NAME alone for the account of the token.
        branch: made from main when it is missing.
        message: of the commit.
        private: makes a new repository private, and refuses one that is public.
        create_pr: opens a pull request instead of writing to the branch.
        force: writes into a repository that holds something else.
        mirror: deletes whatever the folder does not have, not only what an export writes.
    """

    repo: str
    branch: str = "main"
    message: str = "Upload model"
    private: bool = False
    create_pr: bool = False
    force: bool = False
    mirror: bool = False


@dataclass(frozen=True)
class LocalFile:
    """A file of the folder: its path in the repository, where it lies, and its size in bytes."""

    name: str
    path: Path
    size: int

    @cached_property
    def sha256(self) -> str:
        """Hex digest of the content, by which LFS knows it."""
        return _digest(self, hashlib.sha256())

    @cached_property
    def blob_id(self) -> str:
        """Hex digest by which git knows a file that lies in the commit."""
        return _digest(self, hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False))

    @cached_property
    def goes_by_lfs(self) -> bool:
        """Whether the Hub usually wants it ahead of the commit: it is large, or is no text."""
        if self.size > _LARGEST_IN_COMMIT:
            return True
        content = self.path.read_bytes()
        try:
            return "\0" in content.decode("utf-8")
        except UnicodeDecodeError:
            return True

    def same_as(self, there: RepoFile | None) -> bool:
        """Whether the repository's file has the same content; what can differ in size alone is not read."""
        if there is None or there.size != self.size:
            return False
        return self.sha256 == there.lfs.sha256 if there.lfs else self.blob_id == there.blob_id


@dataclass(frozen=True)
class Plan:
    """What a push does.

    Args:
        target: where to.
        files: the whole folder.
        send: files that are new or differ.
        delete: paths that go.
        keep: paths of the repository that are no part of an export, and stay.
        remote: the repository as it is; None where it could not be looked at.
        not_seen: why not.
        left_out: files of the folder that do not travel.
    """

    target: Target
    files: tuple[LocalFile, ...]
    send: tuple[LocalFile, ...]
    delete: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    remote: RemoteModel | None = None
    not_seen: str = ""
    left_out: tuple[str, ...] = ()

    @property
    def changes_nothing(self) -> bool:
        """Whether the repository is as the folder already."""
        return not self.send and not self.delete


def plan_push(folder: Path, target: Target, api: HfApi, dry_run: bool = False) -> Plan:
    """Checks the folder and compares it with the repository. Nothing is changed on the Hub.

    Args:
        folder: an exported model.
        target: where it is to go.
        api: client, which knows the Hub's address and the token.
        dry_run: a Hub that cannot be looked at is no error, and no token is needed.

    Raises:
        ModelFolderError: the folder is not one to publish.
        HubError: names are not valid, there is no token or a wrong one, the Hub cannot be reached, or the repository
            holds something else.
    """
    _check_names(target)
    files, left_out = _read_folder(folder)
    if not dry_run and is_offline_mode():
        raise HubError(OFFLINE)
    try:
        if not dry_run or "/" not in target.repo:
            target = _with_account(target, api)
        remote = read_remote(api, target.repo, target.branch)
    except HubError as error:
        if not dry_run:
            raise
        return Plan(target, files, files, not_seen=str(error), left_out=left_out)
    return replace(compare(files, remote, target), left_out=left_out)


def compare(files: tuple[LocalFile, ...], remote: RemoteModel, target: Target) -> Plan:
    """Says which files a push would send and delete.

    Raises:
        HubError: the repository is not one to push to.
    """
    _check_repository(remote, target)
    target = replace(target, repo=remote.repo)  # under its present name and spelling
    waiting = tqdm(files, desc="comparing", unit="file", disable=None if remote.files else True)
    send = tuple(file for file in waiting if not file.same_as(remote.files.get(file.name)))
    there = sorted(remote.files.keys() - {file.name for file in files} - {".gitattributes"})
    delete = [name for name in there if target.mirror or (remote.is_model_of_this_package and is_exported(name))]
    return Plan(target, files, send, tuple(delete), tuple(name for name in there if name not in delete), remote)


def _check_names(target: Target) -> None:
    try:
        validate_repo_id(target.repo)
    except HFValidationError as error:
        raise HubError(
            f"'{target.repo}' is no name of a model repository; expected USER/NAME of letters, digits, '-', '_' and "
            "'.', without '--' or '..', at most 96 long"
        ) from error
    if not _BRANCH.fullmatch(target.branch) or _COMMIT.fullmatch(target.branch):
        raise HubError(f"'{target.branch}' is no name of a branch; expected one as 'main' or 'v1.0'")
    if target.create_pr and target.branch != "main":
        raise HubError("a pull request goes to main; leave --revision or --create-pr away")


def _read_folder(folder: Path) -> tuple[tuple[LocalFile, ...], tuple[str, ...]]:
    """The files of a checked folder, and the names of those that do not travel."""
    if (folder / "export" / "config.json").is_file() and not (folder / "config.json").is_file():
        raise ModelFolderError(f"{folder}: is a run; push {folder / 'export'}, or what 'raclap export' wrote")
    check_model_folder(folder)
    _check_card(folder / "README.md")
    files, left_out = [], []
    for path in model_files(folder):
        name = path.relative_to(folder).as_posix()
        if any(part.startswith(".") or part == "__pycache__" for part in name.split("/")):
            left_out.append(name)
            continue
        file = LocalFile(name, path, path.stat().st_size)
        if file.size > _LARGEST_FILE:
            raise ModelFolderError(f"{path}: is larger than the 50 GB that the Hub takes; export with --shard-size")
        files.append(file)
    return tuple(files), tuple(left_out)


def _check_card(card: Path) -> None:
    """The card has metadata, and the Hub's own library can read it."""
    if not card.is_file():
        raise ModelFolderError(f"{card.parent}: holds no README.md, the model's card; 'raclap export' writes one")
    try:
        metadata = metadata_load(card)
        if metadata:
            ModelCard(card.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, TypeError, KeyError) as error:
        said = " ".join(str(error).split())
        raise ModelFolderError(f"{card}: the metadata between the lines of --- cannot be read ({said})") from error
    if not metadata:
        raise ModelFolderError(f"{card}: holds no metadata; expected YAML between two lines of --- at its top")


def _with_account(target: Target, api: HfApi) -> Target:
    """Asks whose token it is, so that a wrong one is known before anything is read or sent."""
    if not (api.token or get_token()):
        raise HubError(NO_TOKEN)
    with explained("asking whose token it is", api.endpoint):
        account = api.whoami()
    if account.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise HubError(f"the token of {account['name']} may only read; make one that may write, in its settings")
    return target if "/" in target.repo else replace(target, repo=f"{account['name']}/{target.repo}")


def _check_repository(remote: RemoteModel, target: Target) -> None:
    repo = remote.repo
    if not remote.exists:
        if target.create_pr:
            raise HubError(f"{repo} does not exist, so there is nothing to open a pull request in")
        return
    if target.private and not remote.private:
        raise HubError(f"{repo} exists and is public; make it private in its settings first, or leave --private away")
    if remote.content and not remote.is_model_of_this_package and not target.force:
        kind = f"a model of type '{remote.model_type}'" if remote.model_type else f"{remote.content[0]} and no model"
        raise HubError(f"{repo} holds something else ({kind}); choose another name, or write into it with --force")


def _digest(file: LocalFile, digest: Any) -> str:
    bar = tqdm(total=file.size, desc=file.name, unit="B", unit_scale=True, leave=False, disable=_no_bar(file.size))
    with bar, file.path.open("rb") as content:
        while block := content.read(_READ_AT_ONCE):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()


def _no_bar(size: int) -> bool | None:
    """Small files show none; for others tqdm asks whether anybody watches."""
    return True if size < 100 * _READ_AT_ONCE else None
