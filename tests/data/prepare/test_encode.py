"""A clip, from a video or a folder of frames, to what its record holds."""

import dataclasses
import itertools
import tracemalloc
import weakref

import cv2
import numpy as np
import pytest
from image_folders import flow_planes, write_clip
from videos import encoded, moving, read_snippets, write_video

from ccsn_tf.config import Config, DataConfig
from ccsn_tf.data.datasets import Clip
from ccsn_tf.data.flow import dequantise, make_estimator, quantise
from ccsn_tf.data.frames import changed_at
from ccsn_tf.data.frames import iter_frames as frames_of
from ccsn_tf.data.prepare import encode as module
from ccsn_tf.data.prepare.encode import Skipped, make_record, result_of
from ccsn_tf.data.prepare.prepare import prepare
from ccsn_tf.data.video import VideoError, iter_frames
from ccsn_tf.errors import UserError
from ccsn_tf.worker_pool import Outcome, WorkerLostError

N = 8
STORED = DataConfig(flow="stored", flow_bound=8.0, jpeg_quality=100)


def encode(path, min_fields=5, config=None, **settings):
    return encoded(path, dataclasses.replace(config or DataConfig(), **settings), min_fields)


def num_bytes(jpegs):
    return sum(len(jpeg) for kind in jpegs for jpeg in kind)


def size_of(jpegs):
    return cv2.imdecode(np.frombuffer(jpegs[0], np.uint8), cv2.IMREAD_GRAYSCALE).shape


def planes_of(fields):
    """The stored fields, int (N, 2, H, W)."""
    images = [cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE) for jpeg in fields]
    return np.array([np.split(image, 2) for image in images]).astype(int)


def motion_of(fields, bound=20.0):
    """The mean of each stored field away from the borders, in pixels (N, 2)."""
    return dequantise(planes_of(fields), bound)[:, :, 8:-8, 8:-8].mean(axis=(2, 3))


# Videos


def test_field_i_goes_from_frame_i_to_the_next(tmp_path):
    rgb, flow = encode(write_video(tmp_path / "a.avi", moving(10, (2, -1), still=6)))
    assert (len(rgb), len(flow), *size_of(rgb)) == (10, 9, 36, 48)
    np.testing.assert_allclose(motion_of(flow), [[0, 0]] * 6 + [[2, -1]] * 3, atol=0.25)


@pytest.mark.parametrize("num_frames, fields", [(7, 2), (9, 2), (10, 3)])
def test_stride_keeps_every_third_frame_with_the_motion_of_one(tmp_path, num_frames, fields):
    path = write_video(tmp_path / "a.avi", moving(num_frames, (2, -1)))
    every, third = encode(path, 1), encode(path, 1, flow_stride=3)
    assert third == (every[0][: 3 * fields + 1 : 3], every[1][: 3 * fields : 3])


def test_flow_is_that_of_the_decoded_frames(tmp_path):
    path = write_video(tmp_path / "a.avi", moving(4, (3, 1)))
    _, flow = encode(path, 1, jpeg_quality=100, flow="farneback", flow_bound=8.0)
    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in iter_frames(str(path), 256)]
    estimator = make_estimator(DataConfig(flow="farneback"))
    expected = [quantise(estimator(*pair), 8.0).transpose(2, 0, 1) for pair in itertools.pairwise(greys)]
    np.testing.assert_allclose(planes_of(flow), expected, atol=4)  # JPEG's loss


@pytest.mark.parametrize("flow", ["dis", "none"])
def test_a_long_video_is_never_in_memory(tmp_path, monkeypatch, flow):
    alive, most = set(), []

    def watched(path, short_side, wanted):
        for number, frame in enumerate(iter_frames(path, short_side, wanted)):
            alive.add(number)
            weakref.finalize(frame, alive.discard, number)
            most.append(len(alive))
            yield frame

    monkeypatch.setattr("ccsn_tf.data.video.iter_frames", watched)
    clip = Clip("a", str(write_video(tmp_path / "a.avi", np.repeat(moving(30), 10, axis=0))), "a", "a")
    make_record(clip, str(tmp_path / "a.zip"), lambda: None, DataConfig(flow=flow), 5)
    (tmp_path / "a.zip").unlink()
    tracemalloc.start()
    size = make_record(clip, str(tmp_path / "a.zip"), lambda: None, DataConfig(flow=flow), 5).bytes
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert max(most) <= 3 and peak < size / 2 + 2**18


def test_a_video_without_end_is_not_decoded_to_the_end(tmp_path, monkeypatch):
    path, beats = write_video(tmp_path / "long.avi", moving(60)), []
    monkeypatch.setattr(module, "MAX_BYTES", num_bytes(encode(path)) // 4)
    with pytest.raises(VideoError, match=r"long\.avi is too long: \d+ frames fill a record; cut it"):
        encoded(path, DataConfig(), beat=lambda: beats.append(1))
    assert len(beats) < 25


# Folders of frames


def test_stored_flow_is_taken_as_it_is_and_so_are_the_frames(tmp_path):
    folder = write_clip(tmp_path / "clip", moving(N), flow_planes(N - 1))
    rgb, flow = encode(folder, config=STORED)
    assert rgb == [(folder / f"img_{number:05d}.jpg").read_bytes() for number in range(1, N + 1)]
    for field, found in enumerate(planes_of(flow), start=1):
        for axis, plane in zip("xy", found, strict=True):
            expected = cv2.imread(str(folder / f"flow_{axis}_{field:05d}.jpg"), cv2.IMREAD_GRAYSCALE)
            np.testing.assert_allclose(plane, expected, atol=2)  # one more JPEG, of full quality


def test_flow_is_computed_unless_it_is_asked_for_and_larger_frames_are_compressed_anew(tmp_path):
    planes = np.zeros((N - 1, 2, 72, 96), np.uint8)
    folder = write_clip(tmp_path / "clip", moving(N, (4, 0), height=72, width=96), planes)
    whole, scaled = encode(folder), encode(folder, short_side=36)
    assert whole[0][0] == (folder / "img_00001.jpg").read_bytes()
    assert size_of(scaled[0]) == (36, 48)
    for (_, flow), step in ((whole, 4), (scaled, 2)):
        np.testing.assert_allclose(np.median(motion_of(flow), axis=0), [step, 0], atol=0.25)


def test_flow_that_is_not_there(tmp_path):
    video, folder = write_video(tmp_path / "a.avi"), write_clip(tmp_path / "clip", moving(N))
    with pytest.raises(VideoError, match=r"a\.avi is a video, and --flow=stored"):
        encode(video, config=STORED)
    with pytest.raises(VideoError, match=r"clip holds no flow_x_00001\.jpg"):
        encode(folder, config=STORED)
    with pytest.raises(VideoError, match=r"clip has 8 frames: .*--flow_length=9"):
        encode(folder, 9)
    with pytest.raises(UserError, match="--flow=stored computes no flow"):
        read_snippets(str(video), Config(data=STORED), 2)


def test_folders_are_prepared_and_predicted_alike(tmp_path):
    root = tmp_path / "rawframes"
    for name in ("run/0", "run/1", "sit/0", "sit/1"):
        write_clip(root / name, moving(N, seed=int(name[-1])), flow_planes(N - 1))
    write_clip(root / "run" / "no flow", moving(N))
    (root / "sit" / "nothing").mkdir()
    names = {"dataset": "folder", "video_dir": str(root), "record_dir": str(tmp_path / "records")}
    data = dataclasses.replace(STORED, **names, workers=1)
    manifest = prepare(data, 5)
    assert {clip.name for clip in manifest.clips} == {"run/0", "run/1", "sit/0", "sit/1"}
    assert manifest.skipped_labels == {"run/no flow": "run"} and manifest.unused == {"empty folder": 1}

    frames, fields = read_snippets(str(root / "run" / "0"), Config(data=data), 2)
    assert frames.shape == (2, 36, 48, 3) and fields.shape == (2, 5, 2, 36, 48)
    planes, every = flow_planes(N - 1), list(frames_of(str(root / "run" / "0"), 256))
    for frame, snippet, start in zip(frames, fields, [0, 2], strict=True):  # of 3 positions: the middle of each half
        np.testing.assert_array_equal(frame, every[start + 2])
        np.testing.assert_allclose(snippet, planes[start : start + 5], atol=3)
    computed = read_snippets(str(root / "run" / "no flow"), Config(data=data).replace(flow="farneback"), 2)
    np.testing.assert_array_equal(computed[0], frames)


# What a worker makes of a clip


def test_a_worker_s_answers(tmp_path):
    path, record = write_video(tmp_path / "a.avi", moving(9)), str(tmp_path / "records" / "a.zip")
    clip, beats = Clip("run/a", str(path), "run", "1"), []
    stored = make_record(clip, record, lambda: beats.append(1), DataConfig(), 5)
    assert (stored.name, stored.fields, stored.height, stored.width, len(beats)) == ("run/a", 8, 36, 48, 9)
    path.write_text("no video")
    assert make_record(clip, record, lambda: None, DataConfig(), 5) == stored  # it is there
    for spoilt in (b"", b"PK"):  # as a loss of power may leave it
        (tmp_path / "records" / "a.zip").write_bytes(spoilt)
        skipped = make_record(clip, record, lambda: None, DataConfig(), 5)
        assert clip.path in skipped.reason and skipped.change == changed_at(clip.path) is not None
    absent = Clip("run/b", clip.path + "b", "run", "1")
    assert make_record(absent, record, lambda: None, DataConfig(), 5) == Skipped(f"{absent.path} does not exist.", None)
    assert result_of(Outcome(0, value=stored), clip) is stored
    lost = result_of(Outcome(0, error=WorkerLostError("its process was killed by SIGSEGV")), clip)
    assert lost == Skipped(f"{clip.path}: its process was killed by SIGSEGV; the same command tries it again.", None)
    defect = result_of(Outcome(0, error=IndexError("3\nof 2")), clip)
    assert defect == Skipped(f"{clip.path}: IndexError: 3 (a defect, please report it)", None)
    with pytest.raises(UserError, match="free space"):
        result_of(Outcome(0, error=UserError("free space")), clip)
