import pathlib
import resource

import pytest
from record_folders import contents, into, shards_of, small_records

from ccsn_tf.data.prepare.prepare import prepare
from ccsn_tf.data.records.manifest import FILE_NAME, Manifest
from ccsn_tf.errors import UserError


@pytest.fixture
def small(tiny_data, tmp_path):
    return small_records(tiny_data, tmp_path / "records")


def test_what_is_written(tiny_data, tiny_manifest):
    names = [f"clips-0000{number}-of-00004" for number in range(4)]
    expected = [FILE_NAME, "plan.json", *(f"{name}.{suffix}" for name in names for suffix in ("json", "tfrecord"))]
    assert sorted(contents(tiny_data.record_dir)) == sorted(expected)
    assert list(tiny_manifest.shards) == [f"{name}.tfrecord" for name in names]
    assert tiny_manifest.skipped == {}
    assert [clip.shard for clip in tiny_manifest.clips] == sorted(clip.shard for clip in tiny_manifest.clips)


def test_two_runs_write_the_same_bytes(tiny_data, tmp_path):
    prepare(into(tiny_data, tmp_path / "again"), 5)
    assert contents(tmp_path / "again") == contents(tiny_data.record_dir)


def test_two_workers_write_the_same_bytes_as_one(tiny_data, tmp_path):
    seen = []
    prepare(into(tiny_data, tmp_path / "again", workers=2), 5, lambda done, total, frames: seen.append((done, total)))
    assert contents(tmp_path / "again") == contents(tiny_data.record_dir)
    assert seen[0] == (0, 15) and seen[-1] == (15, 15) and seen == sorted(seen)


def test_progress_counts_clips(tiny_data, tmp_path):
    seen = []
    config = into(tiny_data, tmp_path / "records", classes=("MoveLeft",))
    prepare(config, 5, lambda done, total, frames: seen.append((done, total)))
    assert sorted(set(seen)) == [(done, 5) for done in range(6)]
    seen.clear()
    shards_of(config)[1].unlink()
    prepare(config, 5, lambda done, total, frames: seen.append((done, total)))
    assert sorted(set(seen)) == [(4, 5), (5, 5)]


def test_finished_folder_is_left_as_it_is(small):
    before = {path: path.stat().st_mtime_ns for path in shards_of(small)}
    manifest = prepare(small, 5)
    assert {path: path.stat().st_mtime_ns for path in shards_of(small)} == before
    assert manifest == Manifest.read(small.record_dir)


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-10])


def emptied(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("suffix", [".tfrecord", ".json"])
@pytest.mark.parametrize("spoil", [pathlib.Path.unlink, cut_short, emptied], ids=["deleted", "cut", "emptied"])
def test_restart_redoes_what_is_not_whole_and_nothing_else(small, spoil, suffix):
    before = contents(small.record_dir)
    shards = shards_of(small)
    times = [path.stat().st_mtime_ns for path in shards]
    spoil(shards[1].with_suffix(suffix))
    prepare(small, 5)
    assert contents(small.record_dir) == before
    assert [path.stat().st_mtime_ns == moment for path, moment in zip(shards, times, strict=True)] == [
        True,
        False,
        True,
    ]


def test_lost_manifest_is_written_anew(small):
    before = contents(small.record_dir)
    times = [path.stat().st_mtime_ns for path in shards_of(small)]
    pathlib.Path(small.record_dir, FILE_NAME).write_text("{")
    prepare(small, 5)
    assert contents(small.record_dir) == before
    assert [path.stat().st_mtime_ns for path in shards_of(small)] == times


def test_leftovers_of_a_killed_run_are_never_taken_for_whole(small):
    before = contents(small.record_dir)
    shard = shards_of(small)[0]
    for path in (shard, shard.with_suffix(".json")):
        leftover = path.with_name(f".4711.{path.name}")
        path.rename(leftover)
        cut_short(leftover)
    prepare(small, 5)
    assert contents(small.record_dir) == before


def test_folder_of_a_run_that_was_killed_at_once(tiny_data, tmp_path):
    folder = tmp_path / "records"
    folder.mkdir()
    (folder / ".4711.plan.json").write_text("{")
    config = into(tiny_data, folder, classes=("MoveLeft",))
    assert len(prepare(config, 5).clips) == 5
    assert not (folder / ".4711.plan.json").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_full_disk(tiny_data, tmp_path, workers):
    # A limit on the size of files stands in for the disk.
    config = into(tiny_data, tmp_path / "records", workers=workers)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40000, hard))
    try:
        with pytest.raises(UserError, match=r"clips-0000\d-of-00004\.tfrecord cannot be written \(.*\): free space"):
            prepare(config, 5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(contents(config.record_dir)) == ["plan.json"]
    prepare(config, 5)
    assert contents(config.record_dir) == contents(tiny_data.record_dir)
