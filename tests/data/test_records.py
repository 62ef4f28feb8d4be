import pathlib

import numpy as np
import tensorflow as tf

from ccsn_tf.data.records import read_record
from ccsn_tf.data.tfrecord import FOOTER_BYTES, HEADER_BYTES
from ccsn_tf.data.video import iter_frames


def parse(serialised):
    features = tf.train.Example.FromString(serialised).features.feature
    return {name: list(feature.bytes_list.value) for name, feature in features.items()}


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
            read = read_record(str(path), *(tf.constant(n, tf.int64) for n in (clip.offset, clip.length, size)))
            expected = parse(serialised)
            assert read["name"].numpy() == clip.name.encode() == expected["name"][0]
            assert list(read["rgb"].numpy()) == expected["rgb"]
            assert list(read["flow"].numpy()) == expected["flow"]
        assert end == size


def test_sizes_are_those_of_the_video(tiny_manifest, tiny_data, tiny_set):
    assert len(tiny_manifest.clips) == 15
    for clip in tiny_manifest.clips[::6]:
        path = pathlib.Path(tiny_data.record_dir, clip.shard)
        read = read_record(str(path), clip.offset, clip.length, path.stat().st_size)
        frames = list(iter_frames(str(tiny_set / "videos" / f"{clip.name}.avi"), 256))
        assert clip.fields == len(frames) - 1 == len(read["flow"])
        assert len(read["rgb"]) == len(frames)
        for jpeg, frame in zip(read["rgb"].numpy(), frames, strict=True):
            image = tf.io.decode_jpeg(jpeg).numpy()
            assert image.shape == frame.shape == (clip.height, clip.width, 3)
            assert np.abs(image.astype(int) - frame.astype(int)).mean() < 8
            assert np.abs(image[..., ::-1].astype(int) - frame.astype(int)).mean() > 16  # blue for red
        assert {tf.io.decode_jpeg(jpeg).shape for jpeg in read["flow"].numpy()} == {(2 * clip.height, clip.width, 1)}


def test_reading_inside_a_graph(tiny_data, tiny_manifest):
    clips = tiny_manifest.clips
    files = [str(pathlib.Path(tiny_data.record_dir, clip.shard)) for clip in clips]
    plan = (files, *([getattr(clip, name) for clip in clips] for name in ("offset", "length")))
    plan += ([tiny_manifest.shards[clip.shard] for clip in clips],)
    dataset = tf.data.Dataset.from_tensor_slices(plan).map(
        lambda file, *numbers: read_record(file, *(tf.cast(number, tf.int64) for number in numbers))["name"]
    )
    assert [name.decode() for name in dataset.as_numpy_iterator()] == [clip.name for clip in clips]
