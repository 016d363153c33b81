"""What a model folder must hold, and must not, before anything in it is loaded or sent anywhere.

Nothing is executed here and no model is built: JSON is read, headers of weights are read, names are compared.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from safetensors import SafetensorError, safe_open

from raclap.errors import ModelFolderError

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = f"{WEIGHTS}.index.json"
LOCAL_FOLDERS = (".git", ".cache")  # of git and of the Hub's client, in a folder that came from there

_PICKLED = (".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth")
_OBJECTS = ("config.json", "processor_config.json", "tokenizer_config.json", WEIGHTS_INDEX)
_CODE_NAMES = re.compile(r"^\s*(?:from\s+\.(\w+)\s+import|import\s+\.(\w+))", re.MULTILINE)
_LFS_POINTER = b"version https://git-lfs"


def check_model_folder(folder: Path) -> None:
    """Refuses a folder that is not a whole model of this package, or that would run or read what is not its own.

    Args:
        folder: an exported model, or one that was downloaded (in the Hub's cache its files are links).

    Raises:
        ModelFolderError: the folder is missing; configuration, processor or weights are missing or cut short, or a
            shard that the index names; a JSON file cannot be read; the configuration is of another kind of model; an
            `auto_map` names code of another repository, outside of the folder or not in it; a file would be
            unpickled; a link leaves the folder.
    """
    if not folder.is_dir():
        raise ModelFolderError(f"{folder}: no such model folder")
    weights = WEIGHTS_INDEX if (folder / WEIGHTS_INDEX).is_file() else WEIGHTS
    for name, file in (
        ("config.json", "config.json"),
        (WEIGHTS, weights),
        ("processor_config.json", "processor_config.json"),
    ):
        if not (folder / file).is_file():
            raise ModelFolderError(f"{folder}: holds no {name}; is it a folder that training exported?")
    files = list(model_files(folder))
    _check_links(folder, files)
    _check_nothing_pickled(folder, files)
    settings = {path.name: _read_json(path) for path in files if path.suffix == ".json" and path.parent == folder}
    kind = settings["config.json"].get("model_type")
    if kind != "raclap":
        raise ModelFolderError(f"{folder / 'config.json'}: model_type is {kind!r}; expected 'raclap'")
    for name, content in settings.items():
        if name.endswith("config.json"):  # elsewhere, a token or a corpus may be called auto_map
            for reference in _code_references(content):
                _check_code(folder, name, reference)
    _check_weights(folder, settings.get(WEIGHTS_INDEX))


def model_files(folder: Path) -> Iterator[Path]:
    """The files of a folder and of its subfolders, in order, without what git and the Hub's client keep there."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if not path.is_dir() and not any(part in LOCAL_FOLDERS for part in inside.parts):
            yield path


def _check_links(folder: Path, files: list[Path]) -> None:
    """A link may not lead out of the folder; in the Hub's cache, not out of what is kept of that repository."""
    root = folder.resolve()
    if root.parent.name == "snapshots" and (root.parents[1] / "blobs").is_dir():
        root = root.parents[1]
    # Folders that are links are not walked into, so they are looked at beside the files.
    for path in (*files, *(path for path in folder.rglob("*") if path.is_symlink())):
        if not path.exists():
            raise ModelFolderError(f"{path}: the link leads nowhere")
        if not path.resolve().is_relative_to(root):
            raise ModelFolderError(f"{path}: the link leads out of the model folder; put the file itself there")


def _check_nothing_pickled(folder: Path, files: list[Path]) -> None:
    for path in files:
        if path.suffix.lower() in _PICKLED:
            raise ModelFolderError(
                f"{folder}: {path.relative_to(folder)} would be unpickled, which can run any code; a model folder "
                "keeps its weights as .safetensors"
            )


def _read_json(path: Path) -> Any:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFolderError(f"{path}: cannot be read as JSON ({error})") from error
    if path.name in _OBJECTS and not isinstance(content, dict):
        raise ModelFolderError(f"{path}: holds no JSON object")
    return content


def _code_references(content: Any) -> Iterator[Any]:
    """What every `auto_map`, and the `impl` of every custom pipeline, names: at any depth."""
    if isinstance(content, dict):
        for key, value in content.items():
            if key == "auto_map":
                named = value.values() if isinstance(value, dict) else [value]
                for entry in named:
                    yield from entry if isinstance(entry, list) else [entry]
            elif key == "custom_pipelines" and isinstance(value, dict):
                yield from (entry.get("impl") for entry in value.values() if isinstance(entry, dict))
            else:
                yield from _code_references(value)
    elif isinstance(content, list):
        for value in content:
            yield from _code_references(value)


def _check_code(folder: Path, name: str, reference: Any) -> None:
    """One `module.Class`: the module is a .py file of the folder, and so is all that it imports from beside itself."""
    if reference is None:  # a tokenizer without a slow or without a fast class
        return
    place = f"{folder / name}: auto_map names '{reference}'"
    if not isinstance(reference, str):
        raise ModelFolderError(f"{place}; expected 'module.Class'")
    if "--" in reference:
        raise ModelFolderError(f"{place}, code of another repository; expected 'module.Class' of a file in the folder")
    if reference.startswith(("/", "~")) or ".." in reference or "\\" in reference or ":" in reference:
        raise ModelFolderError(f"{place}, which lies outside of the folder; expected 'module.Class'")
    module, dot, name_of_class = reference.rpartition(".")
    if not dot or not name_of_class.isidentifier() or "." in module:
        raise ModelFolderError(f"{place}; expected 'module.Class'")
    waiting, known = [PurePosixPath(module)], set()
    while waiting:
        module = waiting.pop()
        if module in known:
            continue
        known.add(module)
        code = folder / f"{module}.py"
        if not code.is_file():
            raise ModelFolderError(f"{place}, which needs {module}.py; the folder holds no such file")
        found = _CODE_NAMES.findall(code.read_text(encoding="utf-8", errors="replace"))
        waiting += [module.with_name(one or other) for one, other in found]


def _check_weights(folder: Path, index: dict[str, Any] | None) -> None:
    """Every file of weights is there and whole, and holds the tensors that the index says."""
    if index is None:
        _tensor_names(folder / WEIGHTS)
        return
    where = index.get("weight_map")
    if not isinstance(where, dict) or not where or not all(isinstance(shard, str) for shard in where.values()):
        raise ModelFolderError(f"{folder / WEIGHTS_INDEX}: holds no weight_map of tensors to files")
    for shard in sorted(set(where.values())):
        if Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise ModelFolderError(
                f"{folder / WEIGHTS_INDEX}: names '{shard}'; expected a .safetensors file beside it"
            )
        if not (folder / shard).is_file():
            raise ModelFolderError(f"{folder}: holds no {shard}, which {WEIGHTS_INDEX} names")
        lacking = {tensor for tensor, place in where.items() if place == shard} - _tensor_names(folder / shard)
        if lacking:
            raise ModelFolderError(f"{folder / shard}: lacks '{min(lacking)}', which {WEIGHTS_INDEX} says is there")


def _tensor_names(path: Path) -> set[str]:
    """The names of a safetensors file, from its header; the header and the size of the file must agree."""
    try:
        with safe_open(path, framework="numpy") as weights:
            return set(weights.keys())
    except (SafetensorError, OSError) as error:
        with path.open("rb") as file:
            pointer = file.read(len(_LFS_POINTER)) == _LFS_POINTER
        if pointer:
            raise ModelFolderError(
                f"{path}: holds a Git LFS pointer instead of the weights; fetch them with 'git lfs pull'"
            ) from error
        raise ModelFolderError(f"{path}: is no whole safetensors file ({error})") from error
