"""A model repository of the Hub as it is now: its branch, its files, and whether it holds a model of this package."""

import json
import tempfile
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile

from raclap.errors import HubError
from raclap.hub.hub_answers import explained

_MAIN = "main"
_BEFORE_A_MODEL = (".gitattributes", ".gitignore", "README.md", "LICENSE*")  # what a repository may be made with
# What an export writes, in this version or in an earlier one: a push takes away what the folder no longer has of it.
_EXPORTED = (
    "*_raclap.py",
    "added_tokens.json",
    "config.json",
    "handler.py",
    "merges.txt",
    "model*.safetensors",
    "model.safetensors.index.json",
    "preprocessor_config.json",
    "processor_config.json",
    "requirements.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "training_data.json",
    "vocab.*",
)
_EXPORTED_FOLDERS = ("examples", "onnx")


@dataclass(frozen=True)
class RemoteModel:
    """What a repository holds.

    Args:
        repo: USER/NAME.
        exists: whether it is there, as far as the token may see.
        private: whether only its owner sees it.
        branches: commit of each branch.
        head: commit that a push starts from: of the branch, or of main where the branch is missing.
        files: files at `head`, by path.
        model_type: of its config.json; None without one.
    """

    repo: str
    exists: bool = False
    private: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    head: str | None = None
    files: dict[str, RepoFile] = field(default_factory=dict)
    model_type: str | None = None

    @property
    def is_model_of_this_package(self) -> bool:
        """Whether a push is an update."""
        return self.model_type == "raclap"

    @property
    def content(self) -> list[str]:
        """What it holds beside the files that a repository is made with."""
        return [name for name in self.files if not any(fnmatchcase(name, made) for made in _BEFORE_A_MODEL)]


def read_remote(api: HfApi, repo: str, branch: str) -> RemoteModel:
    """Looks at a repository; nothing is changed.

    Raises:
        HubError: the Hub cannot be reached or refuses; the branch is a tag.
    """
    with explained(f"looking at {repo}", api.endpoint):
        try:
            info = api.model_info(repo)
        except RepositoryNotFoundError:
            return RemoteModel(repo)
        references = api.list_repo_refs(info.id)
    if branch in {tag.name for tag in references.tags}:
        raise HubError(f"{info.id}: '{branch}' is a tag, which always names the same commit; expected a branch")
    branches = {reference.name: reference.target_commit for reference in references.branches}
    head = branches.get(branch) or branches.get(_MAIN)
    files = read_files(api, info.id, head) if head else {}
    return RemoteModel(
        info.id, True, bool(info.private), branches, head, files, _model_type(api, info.id, head, files)
    )


def read_files(api: HfApi, repo: str, revision: str) -> dict[str, RepoFile]:
    """Files of a repository at a revision, by path."""
    with explained(f"listing the files of {repo}", api.endpoint):
        tree = api.list_repo_tree(repo, revision=revision, recursive=True)
        return {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}


def is_exported(name: str) -> bool:
    """Whether a path of a repository is one that an export writes, and so a push may take away."""
    folder, _, _ = name.rpartition("/")
    if folder:
        return folder.split("/")[0] in _EXPORTED_FOLDERS
    return any(fnmatchcase(name, pattern) for pattern in _EXPORTED)


def _model_type(api: HfApi, repo: str, head: str | None, files: dict[str, RepoFile]) -> str | None:
    if "config.json" not in files:
        return None
    with tempfile.TemporaryDirectory() as folder, explained(f"reading config.json of {repo}", api.endpoint):
        path = api.hf_hub_download(repo, "config.json", revision=head, local_dir=folder)
        try:
            config = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError:
            return "unknown"
    return str(config.get("model_type", "unknown")) if isinstance(config, dict) else "unknown"
