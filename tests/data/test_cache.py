import json
import pathlib
import shutil
import subprocess
import sys
import types

import pytest

from ccsn_tf.data import cache as module
from ccsn_tf.data.cache import cache_records
from ccsn_tf.data.records.manifest import FILE_NAME
from ccsn_tf.errors import UserError


@pytest.fixture
def copied(monkeypatch):
    """Names of the files that were copied."""
    names, copyfile = [], shutil.copyfile
    monkeypatch.setattr(module.shutil, "copyfile", lambda a, b: names.append(a.name) or copyfile(a, b))
    return names


@pytest.fixture
def records(tiny_data, tiny_manifest):
    return tiny_data.record_dir, tiny_manifest


def shards_in(folder):
    return sorted(path.name for path in pathlib.Path(folder).iterdir())


def test_the_copies_are_the_records(records, tmp_path, copied):
    record_dir, manifest = records
    shown = []
    folder = cache_records(record_dir, str(tmp_path), manifest.clips, lambda *numbers: shown.append(numbers))
    assert shards_in(folder) == sorted(manifest.shards) == copied
    for name in manifest.shards:
        assert pathlib.Path(folder, name).read_bytes() == pathlib.Path(record_dir, name).read_bytes()
    assert len(shown) == len(copied) + 1 and shown[-1][0] == shown[-1][1]
    assert cache_records(record_dir, str(tmp_path), manifest.clips) == folder
    assert len(copied) == len(manifest.shards)


def test_only_files_that_are_needed(records, tmp_path, copied):
    record_dir, manifest = records
    some = [clip for clip in manifest.clips if clip.shard == sorted(manifest.shards)[1]]
    folder = cache_records(record_dir, str(tmp_path), some)
    assert shards_in(folder) == [some[0].shard]
    assert cache_records(record_dir, str(tmp_path), manifest.clips) == folder
    assert sorted(copied) == sorted(manifest.shards) == shards_in(folder)


def test_an_interrupted_copy_is_taken_up(records, tmp_path, monkeypatch):
    record_dir, manifest = records
    copyfile, names = shutil.copyfile, []

    def interrupted(source, target):
        names.append(source.name)
        if len(names) == 3:
            pathlib.Path(target).write_bytes(b"half")
            raise KeyboardInterrupt
        copyfile(source, target)

    monkeypatch.setattr(module.shutil, "copyfile", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cache_records(record_dir, str(tmp_path), manifest.clips)
    (folder,) = tmp_path.iterdir()
    (folder / ".123.clips.tfrecord").write_bytes(b"left by a process that was killed")
    assert cache_records(record_dir, str(tmp_path), manifest.clips) == str(folder)
    assert names == sorted(manifest.shards)[:3] + sorted(manifest.shards)[2:]
    assert shards_in(folder) == sorted(manifest.shards)


def test_a_copy_of_another_size_is_no_copy(records, tmp_path, copied):
    record_dir, manifest = records
    folder = pathlib.Path(cache_records(record_dir, str(tmp_path), manifest.clips))
    (folder / copied[0]).write_bytes(b"short")
    cache_records(record_dir, str(tmp_path), manifest.clips)
    assert copied[len(manifest.shards) :] == copied[:1]


def test_other_records_have_another_folder(records, tmp_path):
    record_dir, manifest = records
    other = tmp_path / "other" / pathlib.Path(record_dir).name
    shutil.copytree(record_dir, other)
    content = json.loads((other / FILE_NAME).read_text())
    (other / FILE_NAME).write_text(json.dumps({**content, "notes": ["prepared again"]}))
    first, second = (cache_records(str(path), str(tmp_path / "c"), manifest.clips) for path in (record_dir, other))
    assert first != second and len(shards_in(tmp_path / "c")) == 2


def test_too_little_space(records, tmp_path, monkeypatch, copied):
    record_dir, manifest = records
    needed = sum(manifest.shards.values())
    for free in (needed - 1, needed):
        monkeypatch.setattr(module.shutil, "disk_usage", lambda path, free=free: types.SimpleNamespace(free=free))
        if free < needed:
            with pytest.raises(UserError, match=rf"--cache={tmp_path} has 0\.0 GB free, .* need 0\.0 GB: free space"):
                cache_records(record_dir, str(tmp_path), manifest.clips)
            assert not copied
        else:
            cache_records(record_dir, str(tmp_path), manifest.clips)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=0))
    cache_records(record_dir, str(tmp_path), manifest.clips)  # nothing to copy


def test_a_file_in_the_place_of_the_cache(records, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file.* cannot be written \(Not a directory\): free space, or choose another"):
        cache_records(records[0], str(tmp_path / "file"), records[1].clips)


CACHE = """
import sys
from ccsn_tf.data.cache import cache_records
from ccsn_tf.data.records.manifest import Manifest
print(cache_records(sys.argv[1], sys.argv[2], Manifest.read(sys.argv[1]).clips))
"""


def test_several_processes_at_once(records, tmp_path):
    command = [sys.executable, "-c", CACHE, records[0], str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    ends = [(*process.communicate(timeout=60), process.returncode) for process in running]
    assert len({out for out, _, _ in ends}) == 1 and {(err, code) for _, err, code in ends} == {("", 0)}
    folder = ends[0][0].strip()
    assert shards_in(folder) == sorted(records[1].shards)
    for name in records[1].shards:
        assert pathlib.Path(folder, name).read_bytes() == pathlib.Path(records[0], name).read_bytes()
