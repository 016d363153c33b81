"""What is refused before a model folder is loaded or sent anywhere, and what is not."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from raclap.errors import ModelFolderError
from raclap.model_folder import load_model_folder
from raclap.model_folder_check import check_model_folder, model_files


@pytest.fixture
def folder(teacher_folder, tmp_path) -> Path:
    """An export with all that may lie in it beside the model."""
    folder = tmp_path / "model"
    shutil.copytree(teacher_folder, folder)
    (folder / "training_data.json").write_text(json.dumps({"corpora": {"auto_map": {"pairs": 3}}}))
    (folder / "requirements.txt").write_text("soundfile\n")
    (folder / "examples").mkdir()
    (folder / "examples" / "clip.flac").write_bytes(b"fLaC")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "audio.onnx").write_bytes(b"\x08")
    return folder


def edit(path: Path, **changes) -> None:
    """Changes top-level keys of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def refused(folder: Path, message: str) -> None:
    """Both ways in refuse the folder, with one line."""
    for enter in (check_model_folder, load_model_folder):
        with pytest.raises(ModelFolderError, match=message) as caught:
            enter(folder)
        assert "\n" not in str(caught.value)


def test_a_whole_export_passes(folder):
    edit(folder / "training_data.json", corpora={"names": {"auto_map": None}})
    check_model_folder(folder)
    model, _ = load_model_folder(folder)
    assert not model.training


@pytest.mark.parametrize("name", ["config.json", "processor_config.json", "model.safetensors"])
def test_what_is_missing_is_named(folder, name):
    (folder / name).unlink()
    refused(folder, f"holds no {name}; is it a folder that training exported")


@pytest.mark.parametrize("name", ["config.json", "processor_config.json", "tokenizer.json", "training_data.json"])
def test_json_that_cannot_be_read_is_named(folder, name):
    (folder / name).write_text('{"half": ')
    refused(folder, f"{name}: cannot be read as JSON")


def test_another_kind_of_model_is_named(folder):
    edit(folder / "config.json", model_type="bert")
    refused(folder, "model_type is 'bert'; expected 'raclap'")
    (folder / "config.json").write_text("[]")
    refused(folder, "holds no JSON object")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("other/repo--modeling_raclap.RaClapModel", "code of another repository"),
        ("../modeling_raclap.RaClapModel", "lies outside of the folder"),
        ("/tmp/modeling_raclap.RaClapModel", "lies outside of the folder"),
        ("..\\modeling_raclap.RaClapModel", "lies outside of the folder"),
        ("elsewhere.RaClapModel", "needs elsewhere.py; the folder holds no such file"),
        ("RaClapModel", "expected 'module.Class'"),
        ("modeling_raclap.inner.RaClapModel", "expected 'module.Class'"),
        (3, "expected 'module.Class'"),
    ],
)
def test_code_that_is_not_the_folders_own_is_refused(folder, reference, message):
    entries = json.loads((folder / "config.json").read_text())["auto_map"]
    edit(folder / "config.json", auto_map={**entries, "AutoModel": reference})
    refused(folder, message)


@pytest.mark.parametrize("name", ["processor_config.json", "tokenizer_config.json"])
def test_every_configuration_is_looked_through(folder, name):
    whole = (folder / name).read_text()
    for changes in (
        {"auto_map": {"AutoTokenizer": [None, "other/repo--code.Tokens"]}},
        {"nested": {"auto_map": {"AutoFeatureExtractor": "other/repo--code.Features"}}},
        {"custom_pipelines": {"style": {"impl": "other/repo--code.Pipeline"}}},
    ):
        edit(folder / name, **changes)
        refused(folder, rf"{name}: auto_map names 'other/repo--code\.\w+', code of another repository")
        (folder / name).write_text(whole)


def test_code_in_a_subfolder_counts_as_the_folders_own(folder):
    (folder / "code").mkdir()
    (folder / "code" / "own.py").write_text("from .beside import x\n")
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": "code/own.Tokens"})
    refused(folder, "needs code/beside.py")
    (folder / "code" / "beside.py").write_text("x = 1\n")
    check_model_folder(folder)


def test_code_that_the_entry_imports_must_be_there(folder):
    (folder / "pooling_raclap.py").unlink()
    refused(folder, "needs pooling_raclap.py")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "onnx/state.pt", "a.pth", "b.ckpt", "c.PKL"])
def test_what_would_be_unpickled_is_refused(folder, name):
    (folder / name).write_bytes(b"\x80\x04.")
    refused(folder, f"{name} would be unpickled")


def test_shards_are_compared_with_their_index(folder):
    weights = load_file(folder / "model.safetensors")
    halves = [dict(list(weights.items())[start::2]) for start in (0, 1)]
    (folder / "model.safetensors").unlink()
    names = [f"model-0000{part}-of-00002.safetensors" for part in (1, 2)]
    for name, half in zip(names, halves, strict=True):
        save_file(half, folder / name, metadata={"format": "pt"})
    where = {tensor: name for name, half in zip(names, halves, strict=True) for tensor in half}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    load_model_folder(folder)

    (folder / names[1]).rename(folder / "aside")
    refused(folder, f"holds no {names[1]}, which model.safetensors.index.json names")
    first = next(iter(halves[1]))
    save_file({k: v for k, v in halves[1].items() if k != first}, folder / names[1], metadata={"format": "pt"})
    refused(folder, f"{names[1]}: lacks '{first}'")
    index.write_text(json.dumps({"weight_map": {first: "../weights.safetensors"}}))
    refused(folder, "expected a .safetensors file beside it")
    index.write_text(json.dumps({"weight_map": {}}))
    refused(folder, "holds no weight_map")


def test_weights_that_were_cut_short_are_refused(folder):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    refused(folder, "is no whole safetensors file")
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    refused(folder, "holds a Git LFS pointer instead of the weights")


def test_links_may_not_leave_the_folder(folder, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("mine")
    (folder / "inside.txt").symlink_to(folder / "README.md")
    check_model_folder(folder)
    (folder / "notes.txt").symlink_to(secret)
    refused(folder, "notes.txt: the link leads out of the model folder")
    (folder / "notes.txt").unlink()
    (folder / "more").symlink_to(tmp_path)
    refused(folder, "more: the link leads out of the model folder")
    (folder / "more").unlink()
    (folder / "gone.txt").symlink_to(tmp_path / "nowhere")
    refused(folder, "gone.txt: the link leads nowhere")


def test_the_links_of_the_hubs_cache_are_its_own(folder, tmp_path):
    kept = tmp_path / "hub" / "models--user--name"
    snapshot = kept / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (kept / "blobs").mkdir()
    for number, path in enumerate(path for path in folder.iterdir() if path.is_file()):
        path.rename(kept / "blobs" / str(number))
        (snapshot / path.name).symlink_to(Path("../../blobs") / str(number))
    model, _ = load_model_folder(snapshot)
    assert torch.isfinite(model.logit_scale)
    (snapshot / "notes.txt").symlink_to(tmp_path / "hub")
    refused(snapshot, "leads out of the model folder")


def test_what_git_and_the_hubs_client_keep_is_not_part_of_the_model(folder):
    for name in (".git/objects/a.bin", ".cache/huggingface/b.pkl"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(b"\x80")
    check_model_folder(folder)
    assert not [path for path in model_files(folder) if path.suffix in {".bin", ".pkl"}]
