import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from ccsn_tf.data.records.read import FOOTER_BYTES, HEADER_BYTES, read_jpegs
from ccsn_tf.data.records.write import EncodedClip, framed, serialise
from ccsn_tf.data.video import iter_frames
from ccsn_tf.data.views import decode_field, decode_frame
from ccsn_tf.errors import UserError


def parse(serialised):
    features = tf.train.Example.FromString(serialised).features.feature
    return {name: list(feature.bytes_list.value) for name, feature in features.items()}


def read(path, clip, frames, fields):
    found = read_jpegs(str(path), clip.offset, clip.length, clip.fields, frames, fields)
    return tuple([jpeg.tobytes() for jpeg in jpegs] for jpegs in found)


def test_every_clip_is_read_where_the_manifest_says(tiny_data, tiny_manifest):
    for shard, size in tiny_manifest.shards.items():
        path = pathlib.Path(tiny_data.record_dir, shard)
        assert path.stat().st_size == size
        clips = [clip for clip in tiny_manifest.clips if clip.shard == shard]
        stored = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
        assert len(stored) == len(clips)
        end = 0
        for clip, serialised in zip(clips, stored, strict=True):
            assert clip.offset == end and clip.length == len(serialised)
            end += HEADER_BYTES + clip.length + FOOTER_BYTES
            expected = parse(serialised)
            assert expected["name"] == [clip.name.encode()]
            every = read(path, clip, range(clip.fields + 1), range(clip.fields))
            assert every == (expected["rgb"], expected["flow"])
            some = read(path, clip, [0, 3, clip.fields], [1, 2, 4, clip.fields - 1])
            assert some[0] == [expected["rgb"][index] for index in (0, 3, clip.fields)]
            assert some[1] == [expected["flow"][index] for index in (1, 2, 4, clip.fields - 1)]
            assert read(path, clip, [], []) == ([], [])
        assert end == size


def test_sizes_are_those_of_the_video(tiny_manifest, tiny_data, tiny_set):
    assert len(tiny_manifest.clips) == 15
    for clip in tiny_manifest.clips[::6]:
        path = pathlib.Path(tiny_data.record_dir, clip.shard)
        frames = list(iter_frames(str(tiny_set / "videos" / f"{clip.name}.avi"), 256))
        assert clip.fields == len(frames) - 1
        stored = read_jpegs(str(path), clip.offset, clip.length, clip.fields, range(len(frames)), range(clip.fields))
        for jpeg, frame in zip(stored[0], frames, strict=True):
            image = decode_frame(jpeg)
            assert image.shape == frame.shape == (clip.height, clip.width, 3)
            assert np.abs(image.astype(int) - frame.astype(int)).mean() < 8
            assert np.abs(image[..., ::-1].astype(int) - frame.astype(int)).mean() > 16  # blue for red
        assert {decode_field(jpeg).shape for jpeg in stored[1]} == {(2, clip.height, clip.width)}


def test_only_what_is_wanted_is_read(tmp_path, monkeypatch):
    clip = EncodedClip([b"\xff" * 1000] * 51, [b"\x7f" * 300] * 50, 4, 6)
    record = serialise("a", clip)
    path = tmp_path / "a.tfrecord"
    path.write_bytes(framed(record))
    pread, read = os.pread, []
    monkeypatch.setattr(os, "pread", lambda file, count, at: read.append(count) or pread(file, count, at))
    read_jpegs(str(path), 0, len(record), 50, [7, 30], [5, 6, 7, 8, 9, 30])
    framing = 4 * 3  # tag and length of a value
    assert read == [101 * 8, 5 * 300 + framing, 300, 1000, 1000]


@pytest.mark.parametrize("sizes", [[1, 127, 128, 16383, 16384, 70000], [5] * 6, [300, 1, 0, 2, 200, 0]])
def test_table_of_values_of_any_size(tmp_path, sizes):
    rng = np.random.default_rng(0)
    flow, rgb = ([rng.bytes(size) for size in order] for order in (sizes[1:], sizes))
    record = serialise("ä" * 200, EncodedClip(rgb, flow, 4, 6))
    path = tmp_path / "a.tfrecord"
    path.write_bytes(framed(b"before") + framed(record) + framed(b"behind"))
    offset = len(framed(b"before"))
    for number in range(len(flow)):
        frames, fields = read_jpegs(str(path), offset, len(record), len(flow), [number, number + 1], [number])
        assert [jpeg.tobytes() for jpeg in frames] == rgb[number : number + 2]
        assert [jpeg.tobytes() for jpeg in fields] == [flow[number]]


def test_file_that_was_cut(tmp_path, tiny_data, tiny_manifest):
    clip = tiny_manifest.clips[0]
    path = tmp_path / "cut.tfrecord"
    shutil.copy(pathlib.Path(tiny_data.record_dir, clip.shard), path)
    os.truncate(path, clip.length // 2)
    with pytest.raises(UserError, match=r"cut\.tfrecord is shorter than it was: run prepare\.py again"):
        read(path, clip, [0], [0])
