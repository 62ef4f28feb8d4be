import os

import pytest

from ccsn_tf.errors import UserError
from ccsn_tf.files import remove_leftovers, whole_file, write_text


def test_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "folder" / "model.keras"
    with whole_file(path) as beside:
        beside.write_bytes(b"whole")
        assert not path.exists()
        assert beside.suffix == path.suffix
        assert beside.parent == path.parent
    assert path.read_bytes() == b"whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError, UserError])
def test_failure_keeps_the_old_file(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), whole_file(path) as beside:
        beside.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_is_a_user_error_that_names_the_file(tmp_path):
    path = tmp_path / "a.txt"
    message = r"a\.txt cannot be written \(No space left on device\): free space"
    with pytest.raises(UserError, match=message), whole_file(path) as beside:
        beside.write_text("half")
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_error_without_a_number_still_says_something(tmp_path):
    with pytest.raises(UserError, match=r"\(the tape is torn\)"), whole_file(tmp_path / "a.txt"):
        raise OSError("the tape is torn")


def test_file_in_the_place_of_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "a.txt", tmp_path / "file" / "b" / "a.txt"):
        with pytest.raises(UserError, match=r"a\.txt cannot be written .*choose another folder"):
            write_text(path, "text")


def test_folder_in_the_place_of_the_file(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(UserError, match=r"a\.txt cannot be written"):
        write_text(tmp_path / "a.txt", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="nothing is forbidden to root")
def test_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match=r"a\.txt cannot be written \(Permission denied\)"):
        write_text(tmp_path / "a.txt", "text")


def test_text_is_utf8(tmp_path):
    write_text(tmp_path / "a.txt", "größer\n")
    assert (tmp_path / "a.txt").read_bytes() == "größer\n".encode()


def test_leftovers_of_killed_processes_go(tmp_path):
    names = [".123.clips.tfrecord", ".123.plan.json", ".hidden", "plan.json", ".gitignore", "1.2.json"]
    for name in names:
        (tmp_path / name).write_text(name)
    (tmp_path / ".7.folder").mkdir()
    remove_leftovers(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {".hidden", "plan.json", ".gitignore", "1.2.json", ".7.folder"}
