"""Files and folders appear whole or not at all."""

import json
import os
import platform
import stat

import pytest

from raclap.console import exits_cleanly
from raclap.errors import RaClapError
from raclap.files import replacing, replacing_folder, write_json
from raclap.memory import keep_freed_memory


def test_a_failed_write_leaves_the_former_file(tmp_path):
    target = tmp_path / "sub" / "a.json"
    write_json(target, {"a": 1})
    with pytest.raises(RuntimeError), replacing(target) as beside:
        beside.write_text("half")
        raise RuntimeError
    assert json.loads(target.read_text()) == {"a": 1}
    assert [path.name for path in target.parent.iterdir()] == ["a.json"]


def test_a_failed_folder_leaves_the_former_one(tmp_path):
    target = tmp_path / "model"
    with replacing_folder(target) as beside:
        (beside / "one").write_text("1")
    with pytest.raises(RuntimeError), replacing_folder(target) as beside:
        (beside / "two").write_text("2")
        raise RuntimeError
    assert [path.name for path in target.iterdir()] == ["one"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_files_get_ordinary_permissions(tmp_path):
    mask = os.umask(0o022)
    try:
        write_json(tmp_path / "a.json", 1)
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o644


def test_files_of_a_folder_get_ordinary_permissions(tmp_path):
    with replacing_folder(tmp_path / "model") as beside:
        (beside / "weights").touch(mode=0o600)
    (tmp_path / "other").touch()
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "model" / "weights", tmp_path / "other")]
    assert modes[0] == modes[1]


@pytest.mark.parametrize(("error", "code"), [(RaClapError("what to mend"), 2), (KeyboardInterrupt(), 130)])
def test_errors_end_in_one_line(error, code, capsys):
    @exits_cleanly
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == code
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_other_errors_are_not_hidden():
    @exits_cleanly
    def main() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_can_be_kept():
    assert keep_freed_memory()
