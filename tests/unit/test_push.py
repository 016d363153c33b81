"""`raclap push` with the Hub's real client against a Hub on this machine."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.utils import _http

from loopback_hub import READER, STRANGER, WRITER, LoopbackHub, Stored
from raclap.cli import main
from raclap.errors import HubError, ModelFolderError
from raclap.hub.push import Pushed, push
from raclap.hub.push_plan import Plan, Target, plan_push

CARD = "---\nlicense: cc0-1.0\ntags:\n- raclap\n---\n\n# A model\n"
READS = {"info", "refs", "tree", "resolve", "whoami"}


@pytest.fixture(autouse=True)
def client(monkeypatch, tmp_path) -> None:
    """The client as on a machine with a network, without waits between its attempts, without a stored token."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda seconds: None))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def hub():
    with LoopbackHub() as hub:
        yield hub


@pytest.fixture
def folder(teacher_folder, tmp_path) -> Path:
    """An export with a card and one example."""
    folder = tmp_path / "model"
    shutil.copytree(teacher_folder, folder)
    (folder / "README.md").write_text(CARD)
    (folder / "examples").mkdir()
    (folder / "examples" / "clip.flac").write_bytes(b"fLaC\0\0\xff\xf8 not much")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def planned(hub: LoopbackHub, folder: Path, token: str | None = WRITER, dry_run: bool = False, **target) -> Plan:
    api = HfApi(endpoint=hub.url, token=token)
    return plan_push(folder, Target(target.pop("repo", "user/model"), **target), api, dry_run)


def send(hub: LoopbackHub, folder: Path, token: str = WRITER, **target) -> Pushed:
    return push(planned(hub, folder, token, **target), HfApi(endpoint=hub.url, token=token))


def test_a_new_repository_gets_everything_in_one_commit(hub, folder):
    made = send(hub, folder, message="First")
    repository = hub.repositories["user/model"]
    assert repository.files() == contents(folder)
    initial, only = repository.commits.values()
    assert (initial.message, only.message, made.commit) == ("initial commit", "First", repository.heads["main"])
    assert made.url == f"{hub.url}/user/model/commit/{made.commit}"
    assert hub.count("commit") == 1 and not repository.private
    large = {name for name, file in only.files.items() if file.large}
    assert large == {"model.safetensors", "examples/clip.flac"}


def test_what_is_there_already_is_not_committed_again(hub, folder):
    send(hub, folder)
    calls = len(hub.calls)
    plan = planned(hub, folder)
    assert plan.changes_nothing and {name for name, _ in hub.calls[calls:]} <= READS


def test_an_update_sends_what_differs_and_deletes_what_an_export_no_longer_has(hub, folder):
    send(hub, folder)
    repository = hub.repositories["user/model"]
    files = dict(repository.commits[repository.heads["main"]].files)
    files |= {"LICENSE": Stored(b"CC0", False), "figure.png": Stored(b"\x89PNG", False)}
    files |= {"model-00001-of-00002.safetensors": Stored(b"old", True), "onnx/audio.onnx": Stored(b"old", True)}
    files |= {"code/own.py": Stored(b"pass", False), "former_raclap.py": Stored(b"pass", False)}
    repository.add("main", "by hand and from before", files)
    (folder / "README.md").write_text(CARD + "More.\n")
    (folder / "examples" / "clip.flac").unlink()

    plan = planned(hub, folder)
    gone = ("examples/clip.flac", "former_raclap.py", "model-00001-of-00002.safetensors", "onnx/audio.onnx")
    assert [file.name for file in plan.send] == ["README.md"] and plan.delete == gone
    assert plan.keep == ("LICENSE", "code/own.py", "figure.png")
    commits, puts = len(repository.commits), hub.count("lfs_put")
    push(plan, HfApi(endpoint=hub.url, token=WRITER))
    assert len(repository.commits) == commits + 1 and hub.count("lfs_put") == puts
    kept = {"LICENSE": b"CC0", "figure.png": b"\x89PNG", "code/own.py": b"pass"}
    assert repository.files() == contents(folder) | kept

    send(hub, folder, mirror=True)
    assert repository.files() == contents(folder)
    assert ".gitattributes" in repository.commits[repository.heads["main"]].files


def test_a_repository_that_holds_something_else_is_refused(hub, folder):
    other = hub.repository("user/model", {"config.json": '{"model_type": "bert"}', "notes.txt": "mine"})
    with pytest.raises(HubError, match=r"holds something else .*'bert'.*--force"):
        planned(hub, folder)
    hub.repository("user/data", {"table.csv": "a,b"})
    with pytest.raises(HubError, match=r"holds something else \(table.csv and no model\)"):
        planned(hub, folder, repo="user/data")
    assert len(other.commits) == 2
    send(hub, folder, force=True)
    assert other.files() == contents(folder) | {"notes.txt": b"mine"}


def test_a_repository_made_on_the_web_page_is_filled(hub, folder):
    hub.repository("user/model", {"README.md": "---\nlicense: mit\n---\n", ".gitignore": "*.flac\n*.json\n"})
    send(hub, folder)
    assert hub.repositories["user/model"].files() == contents(folder) | {".gitignore": b"*.flac\n*.json\n"}


def test_private_makes_a_private_repository_and_refuses_a_public_one(hub, folder):
    send(hub, folder, private=True)
    assert hub.repositories["user/model"].private
    send(hub, folder, private=True, repo="user/second")
    hub.repository("user/public")
    with pytest.raises(HubError, match="user/public exists and is public"):
        planned(hub, folder, private=True, repo="user/public")


def test_a_name_alone_is_of_the_account(hub, folder):
    assert send(hub, folder, repo="model").repo == "user/model"


def test_a_missing_branch_is_made_from_main(hub, folder):
    first = send(hub, folder)
    (folder / "README.md").write_text(CARD + "A trial.\n")
    second = send(hub, folder, branch="trial/one")
    repository = hub.repositories["user/model"]
    assert repository.heads == {"main": first.commit, "trial/one": second.commit}
    assert repository.commits[second.commit].parent == first.commit
    assert planned(hub, folder, branch="trial/one").changes_nothing
    repository.tags["v1"] = first.commit
    with pytest.raises(HubError, match="'v1' is a tag"):
        planned(hub, folder, branch="v1")


def test_a_pull_request_leaves_the_branch_as_it_is(hub, folder):
    first = send(hub, folder)
    (folder / "README.md").write_text(CARD + "Better.\n")
    asked = send(hub, folder, token=STRANGER, create_pr=True)
    repository = hub.repositories["user/model"]
    assert repository.heads == {"main": first.commit} and asked.url == f"{hub.url}/user/model/discussions/1"
    assert repository.files("refs/pr/1") == contents(folder)
    with pytest.raises(HubError, match="nothing to open a pull request in"):
        planned(hub, folder, create_pr=True, repo="user/none")


def test_large_files_in_parts(folder):
    with LoopbackHub(part_size=100_000) as hub:
        send(hub, folder)
        size = (folder / "model.safetensors").stat().st_size
        assert hub.count("lfs_part") == -(-size // 100_000) > 2
        assert hub.repositories["user/model"].files() == contents(folder)


@pytest.mark.parametrize("call", ["lfs_put", "lfs_batch", "lfs_verify", "preupload"])
@pytest.mark.parametrize("how", ["drop", 500])
def test_a_connection_that_breaks_off_publishes_nothing_and_is_gone_on_with(hub, folder, call, how):
    first = send(hub, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\1\2\3\4")
    repository = hub.repositories["user/model"]
    hub.fail(call, how, times=6)  # the client tries six times
    with pytest.raises(HubError, match=r"sending files to user/model: .*; no file of the repository has changed; run"):
        send(hub, folder)
    assert repository.heads == {"main": first.commit} and len(repository.commits) == 2
    send(hub, folder)
    assert repository.files() == contents(folder) and len(repository.commits) == 3


def test_a_short_failure_is_overcome(hub, folder):
    for call, how in (("lfs_put", "drop"), ("lfs_batch", 500), ("preupload", 503)):
        hub.fail(call, how)
    send(hub, folder)
    assert hub.repositories["user/model"].files() == contents(folder)


@pytest.mark.parametrize("how", ["drop", 500])
def test_what_has_arrived_is_not_sent_again(hub, folder, how):
    hub.fail("commit", how)
    with pytest.raises(HubError, match=r"making the commit in user/model: .*no file of the repository has changed"):
        send(hub, folder)
    repository = hub.repositories["user/model"]
    assert len(repository.commits) == 1 and len(repository.large) == 2 and hub.count("lfs_put") == 2
    send(hub, folder)
    assert hub.count("lfs_put") == 2 and len(repository.commits) == 2 and repository.files() == contents(folder)


def test_no_branch_appears_before_its_commit_can_be_made(hub, folder):
    send(hub, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\1\2\3\4")
    hub.fail("lfs_put", "drop", times=6)
    with pytest.raises(HubError, match="broke off"):
        send(hub, folder, branch="trial/one")
    assert set(hub.repositories["user/model"].heads) == {"main"}


@pytest.mark.parametrize("how", ["late", "gateway"])
def test_a_commit_whose_answer_was_lost_is_found(hub, folder, how):
    hub.fail("commit", how)
    made = send(hub, folder)
    repository = hub.repositories["user/model"]
    assert made.commit == repository.heads["main"] and hub.count("commit") == 1
    assert made.url.endswith(f"/user/model/commit/{made.commit}")


def test_it_is_said_when_the_fate_of_the_commit_is_not_known(hub, folder):
    plan = planned(hub, folder)
    hub.fail("commit", "late")
    seen = hub.count("info")
    original = hub.next_fault
    # Everything after the commit fails, as when the network is gone.
    hub.next_fault = lambda call: "drop" if hub.count("commit") and call == "info" else original(call)
    with pytest.raises(HubError, match="whether it was made is not known"):
        push(plan, HfApi(endpoint=hub.url, token=WRITER))
    assert hub.count("info") > seen
    hub.next_fault = original
    assert planned(hub, folder).changes_nothing


def test_somebody_elses_commit_in_the_meantime_is_not_overwritten(hub, folder):
    send(hub, folder)
    (folder / "README.md").write_text(CARD + "Mine.\n")
    plan = planned(hub, folder)
    repository = hub.repositories["user/model"]
    theirs = repository.add("main", "theirs", dict(repository.commits[repository.heads["main"]].files))
    with pytest.raises(HubError, match=r"changed the repository in the meantime \(412"):
        push(plan, HfApi(endpoint=hub.url, token=WRITER))
    assert repository.heads["main"] == theirs


def test_what_arrived_is_compared_with_the_folder(hub, folder):
    plan = planned(hub, folder)
    real = LoopbackHub._apply

    def forgetful(self, repo, files, key, value):
        if value["path"] != "examples/clip.flac":
            real(self, repo, files, key, value)

    hub._apply = forgetful.__get__(hub)
    with pytest.raises(HubError, match=r"examples/clip.flac at commit \w+ is not the one in the folder"):
        push(plan, HfApi(endpoint=hub.url, token=WRITER))


@pytest.mark.parametrize(
    ("token", "repo", "message"),
    [
        (None, "user/model", "no token: log in with 'hf auth login', or set HF_TOKEN"),
        ("hf_wrong", "user/model", r"the Hub does not accept the token; .* \(401"),
        (READER, "user/model", "the token of user may only read"),
        (STRANGER, "user/model", r"creating user/model: the token may not do that \(403: .*no right to write here\)"),
        (WRITER, "datasets/user/model", "no name of a model repository; expected USER/NAME"),
        (WRITER, "user/two--dashes", "no name of a model repository"),
    ],
)
def test_refusals_are_one_sentence(hub, folder, token, repo, message):
    with pytest.raises(HubError, match=message) as caught:
        send(hub, folder, token, repo=repo)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    assert not hub.repositories


def test_a_repository_of_somebody_else_is_not_written_to(hub, folder):
    send(hub, folder)
    (folder / "README.md").write_text(CARD + "Hijacked.\n")
    with pytest.raises(HubError, match=r"sending files to user/model: the token may not do that \(403"):
        send(hub, folder, STRANGER)
    hub.repositories["user/model"].private = True
    with pytest.raises(HubError, match=r"creating user/model: the token may not do that \(403"):
        send(hub, folder, STRANGER)
    assert len(hub.repositories["user/model"].commits) == 2


@pytest.mark.parametrize("branch", ["refs/pr/1", "a..b", "0" * 40, "-x", "a b", "x/"])
def test_names_of_branches(hub, folder, branch):
    with pytest.raises(HubError, match="is no name of a branch"):
        planned(hub, folder, branch=branch)


@pytest.mark.parametrize(
    ("status", "message"),
    [(402, "storage or plan"), (413, "so large"), (429, "asked too often"), (507, "storage is full"), (503, "failed")],
)
def test_statuses_have_words(hub, folder, status, message):
    hub.fail("commit", status)
    with pytest.raises(HubError, match=rf"{message}.*\({status}: as told\); no file of the repository has changed"):
        send(hub, folder)


def test_a_hub_that_cannot_be_reached(hub, folder):
    hub.__exit__()
    with pytest.raises(HubError, match=rf"{hub.url} cannot be reached"):
        planned(hub, folder)
    plan = planned(hub, folder, dry_run=True)
    assert plan.remote is None and "cannot be reached" in plan.not_seen and len(plan.send) == len(plan.files)


def test_offline_is_said_at_once(hub, folder, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match=r"^HF_HUB_OFFLINE is set, so nothing can be sent"):
        planned(hub, folder, token=None)
    assert "HF_HUB_OFFLINE is set" in planned(hub, folder, dry_run=True).not_seen and not hub.calls


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (None, "holds no README.md"),
        ("# A model\n", "holds no metadata"),
        ("---\n---\n# A model\n", "holds no metadata"),
        ("---\nlicense: [mit\n---\n", "cannot be read"),
        ("---\n- mit\n---\n", "cannot be read"),
        ("---\nmodel-index:\n- name: x\n  results: [{}]\n---\n", "cannot be read"),
    ],
)
def test_a_card_that_cannot_be_read_is_named(hub, folder, card, message):
    path = folder / "README.md"
    path.unlink() if card is None else path.write_text(card)
    with pytest.raises(ModelFolderError, match=message) as caught:
        planned(hub, folder)
    assert "\n" not in str(caught.value) and not hub.calls


def test_metadata_that_the_hub_refuses_stops_before_anything_is_made(hub, folder):
    (folder / "README.md").write_text(CARD.replace("cc0-1.0", "My Own"))
    with pytest.raises(HubError, match=r"does not accept its metadata .*My Own"):
        send(hub, folder)
    assert not hub.repositories


def test_folders_that_are_not_to_be_sent(hub, folder, tmp_path):
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    with pytest.raises(ModelFolderError, match=r"holds no model\.safetensors"):
        planned(hub, folder)
    (folder / "weights.safetensors").rename(folder / "model.safetensors")
    run = tmp_path / "run"
    shutil.copytree(folder, run / "export")
    with pytest.raises(ModelFolderError, match=f"is a run; push {run / 'export'}"):
        planned(hub, run)
    assert not hub.calls


def test_hidden_files_stay_at_home(hub, folder):
    for name in (".env", ".cache/huggingface/x", "__pycache__/handler.pyc"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("secret")
    plan = planned(hub, folder)
    assert plan.left_out == (".env", "__pycache__/handler.pyc")
    send(hub, folder)
    assert not {name for name in hub.repositories["user/model"].files() if "/." in f"/{name}" or "pycache" in name}


def run(monkeypatch, hub: LoopbackHub, *words: object, token: str | None = WRITER) -> int:
    """`raclap push` in this process; its exit status."""
    monkeypatch.setattr(sys, "argv", ["raclap", "push", *map(str, words)])
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda **names: HfApi(endpoint=hub.url, token=token, **names))
    try:
        main()
    except SystemExit as exit_:
        return exit_.code
    return 0


def test_a_dry_run_lists_everything_and_sends_nothing(hub, folder, monkeypatch, capsys):
    assert run(monkeypatch, hub, folder, "user/model", "--dry-run", token=None) == 0
    said = capsys.readouterr().out
    assert "a new repository" in said and "dry run: nothing was sent" in said
    assert "LFS            model.safetensors" in said and "in the commit  config.json" in said
    assert "LFS            examples/clip.flac" in said
    total = sum(map(len, contents(folder).values()))
    assert f"{len(contents(folder))} files, {total / 1000:.0f}kB" in said
    assert {method for _, method in hub.calls} <= {"GET", "HEAD"} and not hub.repositories

    send(hub, folder)
    hub.repositories["user/model"].private = True
    (folder / "examples" / "clip.flac").unlink()
    calls = len(hub.calls)
    assert run(monkeypatch, hub, folder, "model", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "deleted        examples/clip.flac" in said and "unchanged      model.safetensors" in said
    assert {name for name, _ in hub.calls[calls:]} <= READS


def test_the_command_says_where_the_model_is(hub, folder, monkeypatch, capsys):
    assert run(monkeypatch, hub, folder, "user/model", "--private", "--message", "Mine") == 0
    commit = hub.repositories["user/model"].heads["main"]
    said = capsys.readouterr().out
    assert f"{hub.url}/user/model/commit/{commit}" in said
    assert f'AutoModel.from_pretrained("user/model", revision="{commit}", trust_remote_code=True)' in said
    assert run(monkeypatch, hub, folder, "user/model") == 0
    assert f"nothing to change: commit {commit} holds this folder already" in capsys.readouterr().out
    assert run(monkeypatch, hub, folder, "user/model", "--message", " ") == 2
    assert "must not be empty" in capsys.readouterr().err
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "a/b--c.D"}}))
    assert run(monkeypatch, hub, folder, "user/model") == 2
    assert "error: " in (said := capsys.readouterr().err) and "another repository" in said
