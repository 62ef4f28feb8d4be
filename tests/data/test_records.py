import pathlib
import weakref

import cv2
import numpy as np
import pytest
import tensorflow as tf
from videos import moving, write_video

from ccsn_tf.config import DataConfig
from ccsn_tf.data import records
from ccsn_tf.data.flow import dequantise, make_estimator, quantise
from ccsn_tf.data.records import FOOTER_BYTES, HEADER_BYTES, encode_clip, read_record
from ccsn_tf.data.video import VideoError, iter_frames


def encode(path, min_fields=5, **settings):
    config = DataConfig(**settings)
    return encode_clip(str(path), path.stem, make_estimator(config), config, min_fields)


def parse(serialised):
    features = tf.train.Example.FromString(serialised).features.feature
    return {name: list(feature.bytes_list.value) for name, feature in features.items()}


def flow_of(jpeg, bound=20.0):
    """The x- and y-flow of a stored field, in pixels (H, W, 2)."""
    x, y = np.split(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE), 2)
    return dequantise(np.stack([x, y], axis=-1), bound)


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


def test_field_i_goes_from_frame_i_to_the_next(tmp_path):
    path = write_video(tmp_path / "a.avi", moving(10, (2, -1), still=6))
    record, size = encode(path)
    assert size == {"fields": 9, "height": 36, "width": 48}
    moved = np.stack([flow_of(jpeg)[8:-8, 8:-8].mean(axis=(0, 1)) for jpeg in parse(record)["flow"]])
    np.testing.assert_allclose(moved[:6], 0, atol=0.25)
    np.testing.assert_allclose(moved[6:], [[2, -1]] * 3, atol=0.25)


def test_flow_is_that_of_the_decoded_frames(tmp_path):
    path = write_video(tmp_path / "a.avi", moving(4, (3, 1)))
    record, _ = encode(path, 1, jpeg_quality=100, flow="farneback", flow_bound=8.0)
    frames = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in iter_frames(str(path), 256)]
    estimator = make_estimator(DataConfig(flow="farneback"))
    for index, jpeg in enumerate(parse(record)["flow"]):
        expected = dequantise(quantise(estimator(frames[index], frames[index + 1]), 8.0), 8.0)
        assert np.abs(flow_of(jpeg, 8.0) - expected).max() < 0.3  # JPEG's loss


def test_large_frames_are_scaled_before_flow(tmp_path):
    path = write_video(tmp_path / "a.avi", moving(4, (4, 0), height=72, width=96))
    record, size = encode(path, 1, short_side=36)
    assert (size["height"], size["width"]) == (36, 48)
    assert abs(flow_of(parse(record)["flow"][0])[8:-8, 8:-8, 0].mean() - 2) < 0.25


def test_quality_is_that_of_the_config(tmp_path):
    path = write_video(tmp_path / "a.avi")
    lengths = [len(encode(path, jpeg_quality=quality)[0]) for quality in (60, 95)]
    assert lengths[1] > 1.5 * lengths[0]


@pytest.mark.parametrize("count, text", [(1, "1 frame"), (2, "2 frames"), (5, "5 frames")])
def test_clip_shorter_than_a_snippet(tmp_path, count, text):
    path = write_video(tmp_path / "short.avi", moving(count))
    with pytest.raises(VideoError, match=rf"short\.avi has {text}: a snippet of --flow_length=5 flow fields needs 6"):
        encode(path, 5)
    assert encode(write_video(tmp_path / "enough.avi", moving(6)), 5)[1]["fields"] == 5


def test_frames_too_small_for_the_flow(tmp_path):
    path = write_video(tmp_path / "stamp.avi", moving(8, height=6, width=8))
    with pytest.raises(VideoError, match=r"stamp\.avi: --flow=dis fails on frames of 8x6 pixels \("):
        encode(path)


def test_same_video_same_bytes(tmp_path):
    path = write_video(tmp_path / "a.avi")
    record, _ = encode(path)
    assert encode(path)[0] == record
    example = tf.train.Example.FromString(record)
    assert example.SerializeToString(deterministic=True) == record


def test_a_long_video_is_never_in_memory_as_frames(tmp_path, monkeypatch):
    alive, most = set(), []

    def watched(path, short_side):
        for number, frame in enumerate(iter_frames(path, short_side)):
            alive.add(number)
            weakref.finalize(frame, alive.discard, number)
            most.append(len(alive))
            yield frame

    monkeypatch.setattr(records, "iter_frames", watched)
    _, size = encode(write_video(tmp_path / "a.avi", moving(30)))
    assert size["fields"] == 29
    assert max(most) <= 3


def test_record_beyond_what_a_protocol_buffer_holds(tmp_path, monkeypatch):
    path = write_video(tmp_path / "long.avi")
    monkeypatch.setattr(records, "MAX_BYTES", len(encode(path)[0]) - 1000)
    with pytest.raises(VideoError, match=r"long\.avi is too long for a record, with 14 frames: cut it"):
        encode(path)


def test_reading_inside_a_graph(tiny_data, tiny_manifest):
    clips = tiny_manifest.clips
    files = [str(pathlib.Path(tiny_data.record_dir, clip.shard)) for clip in clips]
    plan = (files, *([getattr(clip, name) for clip in clips] for name in ("offset", "length")))
    plan += ([tiny_manifest.shards[clip.shard] for clip in clips],)
    dataset = tf.data.Dataset.from_tensor_slices(plan).map(
        lambda file, *numbers: read_record(file, *(tf.cast(number, tf.int64) for number in numbers))["name"]
    )
    assert [name.decode() for name in dataset.as_numpy_iterator()] == [clip.name for clip in clips]
