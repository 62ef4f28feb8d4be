import contextlib
import itertools
import json
import random

import numpy as np
import pytest
import tensorflow as tf
from record_folders import contents

from ccsn_tf.data.datasets import Clip
from ccsn_tf.data.records import write as module
from ccsn_tf.data.records.folder import LocalFolder
from ccsn_tf.data.records.read import FOOTER_BYTES, HEADER_BYTES
from ccsn_tf.data.records.write import (
    EncodedClip,
    Record,
    Shard,
    Skipped,
    example,
    framed,
    is_missing,
    last_change,
    plan_shards,
    read_index,
    serialise,
    write_shard,
)


@pytest.fixture
def shard(tmp_path):
    """Four clips, whose files exist; the third cannot be used."""
    clips = []
    for number in range(4):
        (tmp_path / f"{number}.avi").write_text(str(number))
        clips.append(Clip(f"run/{number}", str(tmp_path / f"{number}.avi"), "run", str(number)))
    return Shard("clips-00000-of-00001.tfrecord", tuple(clips))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "records").mkdir()
    return LocalFolder(tmp_path / "records")


def results(shard):
    made = [Record(framed(bytes([number]) * (50 + number)), 6 + number, 36, 48) for number in range(4)]
    made[2] = Skipped(f"{shard.clips[2].path} is bad.", last_change(shard.clips[2]))
    return made


def write(folder, shard, order=range(4)):
    made = results(shard)
    with contextlib.closing(write_shard(folder, shard)) as writer, contextlib.suppress(StopIteration):
        next(writer)
        for position in order:
            writer.send((position, made[position]))


@pytest.mark.parametrize("count, size, sizes", [(0, 4, []), (9, 4, [4, 4, 1])])
def test_plan(count, size, sizes):
    clips = [Clip(str(number), "", "", "") for number in range(count)]
    shards = plan_shards([[clip.name for clip in clips]], clips, size)
    assert [len(shard.clips) for shard in shards] == sizes
    assert [clip for shard in shards for clip in shard.clips] == clips
    assert [shard.name for shard in shards] == [f"clips-0000{n}-of-00003.tfrecord" for n in range(len(sizes))]


def test_plan_of_a_set_that_has_changed():
    """The clips that came later have files of their own; those that are gone leave the others where they are."""
    lists = [list("abcde"), ["f"], ["g", "h", "i"]]
    shards = plan_shards(lists, [Clip(name, "", "", "") for name in "adfghi"], 2)
    assert {shard.name: "".join(clip.name for clip in shard.clips) for shard in shards} == {
        "clips-00000-of-00003.tfrecord": "a",
        "clips-00001-of-00003.tfrecord": "d",
        "added1-00000-of-00001.tfrecord": "f",
        "added2-00000-of-00002.tfrecord": "gh",
        "added2-00001-of-00002.tfrecord": "i",
    }


def test_what_is_written(folder, shard):
    write(folder, shard)
    assert sorted(folder.names()) == ["clips-00000-of-00001.json", shard.name]
    index = read_index(folder, shard)
    records = list(tf.data.TFRecordDataset(str(folder.path / shard.name)).as_numpy_iterator())
    assert records == [bytes([number]) * (50 + number) for number in (0, 1, 3)]
    assert [(clip["name"], clip["fields"], clip["length"]) for clip in index["clips"]] == [
        ("run/0", 6, 50),
        ("run/1", 7, 51),
        ("run/3", 9, 53),
    ]
    assert index["skipped"].keys() == {"run/2"} and index["bytes"] == folder.size(shard.name)
    assert not is_missing(folder, shard)


@pytest.mark.parametrize("kept_in_memory", [1, 2**24])
def test_order_of_arrival_does_not_matter(folder, shard, monkeypatch, kept_in_memory):
    monkeypatch.setattr(module, "_KEPT_IN_MEMORY", kept_in_memory)
    write(folder, shard)
    expected = contents(folder.path)
    for order in itertools.permutations(range(4)):
        for name in folder.names():
            (folder.path / name).unlink()
        write(folder, shard, order)
        assert contents(folder.path) == expected


def test_shard_that_is_given_up_leaves_nothing(folder, shard):
    write(folder, shard, [3, 0, 1])
    assert folder.names() == []


def test_no_memory_is_used_for_many_records_that_wait(folder, shard, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_KEPT_IN_MEMORY", 1000)
    made = Record(framed(random.Random(0).randbytes(5000)), 6, 36, 48)
    with contextlib.closing(write_shard(folder, shard)) as writer:
        next(writer)
        writer.send((3, made))
        assert writer.gi_frame.f_locals["early"]._rolled
        assert not list(tmp_path.glob("records/tmp*"))  # without a name: gone with the process, however it ends


@pytest.mark.parametrize("spoiled", [b"", b"{", b"null", b"[]", b'{"bytes": 1}', b'{"clips": []}', b"\xff"])
def test_index_that_is_not_whole(folder, shard, spoiled):
    write(folder, shard)
    (folder.path / shard.index_name).write_bytes(spoiled)
    assert read_index(folder, shard) is None and is_missing(folder, shard)


def test_video_that_was_skipped_is_tried_again_when_it_has_changed_or_its_worker_died(folder, shard, tmp_path):
    write(folder, shard)
    index = json.loads(folder.read(shard.index_name))
    (tmp_path / "0.avi").write_text("others do not matter")
    assert not is_missing(folder, shard)
    (tmp_path / "2.avi").write_text("good now")
    assert is_missing(folder, shard)
    for change, missing in ((last_change(shard.clips[2]), False), (None, True)):
        index["skipped"]["run/2"]["change"] = change
        (folder.path / shard.index_name).write_text(json.dumps(index))
        assert is_missing(folder, shard) == missing


# What a record file is made of


def parse(serialised):
    features = tf.train.Example.FromString(serialised).features.feature
    return {name: list(feature.bytes_list.value) for name, feature in features.items()}


def test_same_clip_same_bytes():
    clip = EncodedClip([b"a", b"b"], [b"c"], 4, 6)
    serialised = serialise("jump/a", clip)
    assert serialise("jump/a", clip) == serialised
    content = parse(serialised)
    table = content.pop("table")[0]
    assert content == {"name": [b"jump/a"], "rgb": [b"a", b"b"], "flow": [b"c"]}
    places = np.frombuffer(table, "<i4").reshape(3, 2).tolist()
    assert [serialised[begin : begin + size] for begin, size in places] == [b"c", b"a", b"b"]


@pytest.mark.parametrize(
    "features",
    [
        {"name": [b"jump/a"], "rgb": [b"abc", b"", b"\x00\xff"], "flow": [b"x" * 200]},
        {"rgb": [bytes(70000)] * 40, "flow": [], "name": ["größer".encode()]},
        {},
    ],
)
def test_example_is_tensorflows_byte_for_byte(features):
    lists = {key: tf.train.BytesList(value=values) for key, values in features.items()}
    features_proto = tf.train.Features(feature={key: tf.train.Feature(bytes_list=v) for key, v in lists.items()})
    expected = tf.train.Example(features=features_proto).SerializeToString(deterministic=True)
    assert example(features) == expected


def test_frame_is_tensorflows_byte_for_byte(tmp_path):
    records = [np.random.default_rng(0).bytes(length) for length in (0, 1, 3, 4, 16, 1000, 100001)]
    with tf.io.TFRecordWriter(str(tmp_path / "all.tfrecord")) as writer:
        for record in records:
            writer.write(record)
    assert b"".join(map(framed, records)) == (tmp_path / "all.tfrecord").read_bytes()
    assert len(framed(b"record")) == HEADER_BYTES + len(b"record") + FOOTER_BYTES
