import fcntl
import pathlib
import subprocess
import sys
import threading

import pytest

from ccsn_tf.errors import UserError
from ccsn_tf.files import only_process, remove_leftovers, whole_file, write_text


def test_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "folder" / "model.keras"
    with whole_file(path) as beside:
        beside.write_bytes(b"whole")
        assert not path.exists()
        assert beside.suffix == path.suffix
        assert beside.parent == path.parent
    assert path.read_bytes() == b"whole"
    assert list(path.parent.iterdir()) == [path]


def test_failure_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as beside:
        beside.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_named(tmp_path):
    path, folder, file = tmp_path / "a.txt", tmp_path / "folder", tmp_path / "file"
    message = r"a\.txt cannot be written \(No space left on device\): free space"
    with pytest.raises(UserError, match=message), whole_file(path) as beside:
        beside.write_text("half")
        raise OSError(28, "No space left on device")
    folder.mkdir()
    file.touch()
    for wrong in (folder, file / "b" / "a.txt"):
        with pytest.raises(UserError, match=f"{wrong.name} cannot be written"):
            write_text(wrong, "text")
    assert {each.name for each in tmp_path.iterdir()} == {"folder", "file"}


def test_leftovers_of_killed_processes_go(tmp_path):
    names = [".123.a.zip", ".123.settings.json", ".hidden", "settings.json", ".gitignore", "1.2.json"]
    for name in names:
        (tmp_path / name).write_text(name)
    (tmp_path / ".7.folder").mkdir()
    remove_leftovers(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {".hidden", "settings.json", ".gitignore", "1.2.json", ".7.folder"}


OWNER = """
import sys, time
from ccsn_tf.files import only_process
with only_process(sys.argv[1]) as alone:
    print(alone, flush=True)
    time.sleep(60)
"""


def test_only_one_process_is_let_into_a_folder(tmp_path):
    folder = tmp_path / "new" / "records"
    with subprocess.Popen([sys.executable, "-c", OWNER, str(folder)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout.readline() == "True\n"
        with (
            pytest.raises(UserError, match=f"{folder} is in use by process {owner.pid} on .*: wait"),
            only_process(folder),
        ):
            pytest.fail("two are in")
        threading.Timer(0.5, owner.kill).start()
        with only_process(folder, patience=60) as alone:  # until the other has ended
            assert alone and [path.name for path in folder.iterdir()] == [".lock"]
        assert owner.wait(0) and list(folder.iterdir()) == []


def test_a_lock_that_its_owner_removes_meanwhile_is_no_lock(tmp_path, monkeypatch):
    # Between opening the file and locking it the owner may have left, and a third process come.
    lock, first = fcntl.flock, []

    def after_the_owner_has_gone(file, how):
        if not first:
            first.append(file.name)
            pathlib.Path(file.name).unlink()
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", after_the_owner_has_gone)
    with only_process(tmp_path) as alone:
        assert alone and first and (tmp_path / ".lock").exists()
