import dataclasses
import itertools

import cv2
import numpy as np
import pytest
from image_folders import flow_planes, write_clip
from videos import moving, write_video

from ccsn_tf.config import Config, DataConfig
from ccsn_tf.data.flow import make_estimator, quantise
from ccsn_tf.data.frame_folders import iter_frames
from ccsn_tf.data.prepare.encode import encode_clip
from ccsn_tf.data.prepare.prepare import prepare
from ccsn_tf.data.records.manifest import Manifest
from ccsn_tf.data.video import VideoError
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.predict import read_snippets

N = 8
STORED = DataConfig(flow="stored", flow_bound=8.0, jpeg_quality=100)


def encode(path, config=STORED, min_fields=5):
    return encode_clip(str(path), make_estimator(config), config, min_fields)


def planes_of(clip):
    """The stored fields, int (N, 2, H, W)."""
    images = [cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE) for jpeg in clip.flow]
    return np.array([np.split(image, 2) for image in images]).astype(int)


def test_stored_flow_is_taken_as_it_is_and_so_are_the_frames(tmp_path):
    folder = write_clip(tmp_path / "clip", moving(N), flow_planes(N - 1))
    clip = encode(folder)
    assert clip.rgb == [(folder / f"img_{number:05d}.jpg").read_bytes() for number in range(1, N + 1)]
    assert (clip.height, clip.width) == (36, 48)
    for field, found in enumerate(planes_of(clip), start=1):
        for axis, plane in zip("xy", found, strict=True):
            expected = cv2.imread(str(folder / f"flow_{axis}_{field:05d}.jpg"), cv2.IMREAD_GRAYSCALE)
            np.testing.assert_allclose(plane, expected, atol=2)  # one more JPEG, of full quality


@pytest.mark.parametrize("as_many", [False, True], ids=["one field fewer", "as many fields"])
def test_stored_flow_goes_with_the_frames_as_computed_flow_does(tmp_path, as_many):
    """A clip of which the motion changes at frame 4: whichever tool made the folder, the fields change there."""
    video = moving(N + 1, (2, -1), still=4)
    estimator = make_estimator(DataConfig(flow="farneback"))
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in video]
    flow = [quantise(estimator(a, b), 8.0) for a, b in itertools.pairwise(grey)]
    planes = np.stack(flow).transpose(0, 3, 1, 2)
    # denseflow: every frame, and field i from frame i. TSN's dense_flow: field i from frame i beside frame i + 1.
    frames, planes = (video[1:], planes) if as_many else (video, planes)
    stored = planes_of(encode(write_clip(tmp_path / "stored", frames, planes)))
    computed = dataclasses.replace(STORED, flow="farneback")
    expected = planes_of(encode(write_clip(tmp_path / "computed", frames), computed))
    assert len(stored) == len(expected) == len(frames) - 1
    motion = [np.median(fields[:, :, 8:-8, 8:-8], axis=(2, 3)) for fields in (stored, expected)]
    np.testing.assert_allclose(motion[0], motion[1], atol=3)
    assert np.ptp(motion[1][:, 0]) > 20


def test_flow_is_computed_from_the_frames_unless_it_is_asked_for(tmp_path):
    folder = write_clip(tmp_path / "clip", moving(N, (2, 0)), np.zeros((N - 1, 2, 36, 48), np.uint8))
    config = DataConfig(flow="farneback", jpeg_quality=100)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in iter_frames(str(folder), 256)]
    estimator = make_estimator(config)
    for index, found in enumerate(planes_of(encode(folder, config))):
        expected = quantise(estimator(grey[index], grey[index + 1]), 20.0).transpose(2, 0, 1)
        np.testing.assert_allclose(found, expected, atol=2)
    assert encode(folder, config).rgb[0] == (folder / "img_00001.jpg").read_bytes()


def test_larger_frames_are_scaled_and_compressed_anew(tmp_path):
    folder = write_clip(tmp_path / "clip", moving(N, (4, 0), height=72, width=96))
    clip = encode(folder, DataConfig(short_side=36))
    assert (clip.height, clip.width) == (36, 48)
    assert cv2.imdecode(np.frombuffer(clip.rgb[0], np.uint8), cv2.IMREAD_COLOR).shape == (36, 48, 3)
    assert abs(np.median(planes_of(clip)[:, 0]) - (127.5 + 2 * 255 / 40)) < 2


def test_flow_that_is_not_there(tmp_path):
    video, folder = write_video(tmp_path / "a.avi"), write_clip(tmp_path / "clip", moving(N))
    with pytest.raises(VideoError, match=r"a\.avi is a video, and --flow=stored takes flow images from a folder of"):
        encode(video)
    with pytest.raises(VideoError, match=r"clip holds no flow_x_00001\.jpg"):
        encode(folder)
    with pytest.raises(VideoError, match=r"clip has 8 frames: a snippet of --flow_length=9 flow fields needs 10"):
        encode(folder, DataConfig(), 9)


@pytest.fixture
def rawframes(tmp_path):
    """A folder data set of frame folders, some of them bad, and its config."""
    root = tmp_path / "rawframes"
    for number in range(3):
        for label in ("run", "sit"):
            write_clip(root / label / f"good {number}", moving(N, seed=number), flow_planes(N - 1))
    write_clip(root / "run" / "no flow", moving(N))
    write_clip(root / "run" / "gap", moving(N), flow_planes(N - 1))
    (root / "run" / "gap" / "img_00004.jpg").unlink()
    (root / "sit" / "nothing").mkdir()
    data = dataclasses.replace(STORED, dataset="folder", video_dir=str(root), record_dir=str(tmp_path / "r"), workers=1)
    return root, data


def test_prepare_lists_what_is_wrong_with_which_folder(rawframes):
    _, data = rawframes
    manifest = prepare(data, 5)
    assert {clip.name for clip in manifest.clips} == {f"{c}/good {n}" for c in ("run", "sit") for n in range(3)}
    reasons = {
        "run/no flow": "holds no flow_x_00001.jpg",
        "run/gap": "jumps from img_00003.jpg to img_00005.jpg",
        "sit/nothing": "holds no img_00001.jpg",
    }
    assert manifest.skipped.keys() == reasons.keys() == manifest.skipped_labels.keys()
    assert all(reason in manifest.skipped[name] for name, reason in reasons.items())
    assert sum(manifest.count_skipped(1, side, ["run"]) for side in ("train", "test")) == 2
    assert Manifest.read(data.record_dir) == manifest
    assert manifest.settings["flow"] == "stored" and manifest.settings["flow_bound"] == 8.0


def test_mended_folder_is_tried_again(rawframes):
    root, data = rawframes
    prepare(data, 5)
    image = root / "run" / "gap" / "img_00004.jpg"
    image.write_bytes((root / "run" / "gap" / "img_00003.jpg").read_bytes())
    assert "run/gap" in {clip.name for clip in prepare(data, 5).clips}


def test_prediction_sees_what_was_stored(rawframes):
    """Snippets of a folder, and their stored flow, as evaluation reads them from the records."""
    root, data = rawframes
    config = Config(data=data)
    frames, fields = read_snippets(str(root / "run" / "good 0"), config, 2)
    assert frames.shape == (2, 36, 48, 3) and fields.shape == (2, 5, 2, 36, 48)
    starts = [0, 2]  # of 3 positions: the middle of each half
    planes = flow_planes(N - 1)
    for snippet, start in zip(fields, starts, strict=True):
        np.testing.assert_allclose(snippet, planes[start : start + 5], atol=3)
    every = list(iter_frames(str(root / "run" / "good 0"), 256))
    np.testing.assert_array_equal(frames, [every[start + 2] for start in starts])
    computed = read_snippets(str(root / "run" / "no flow"), config.replace(flow="farneback"), 2)
    np.testing.assert_array_equal(computed[0], frames)


def test_prediction_of_a_video_by_a_model_of_stored_flow(tmp_path):
    video = write_video(tmp_path / "a.avi")
    with pytest.raises(UserError, match="--flow=stored computes no flow: give folders of frames that have flow images"):
        read_snippets(str(video), Config(data=STORED), 2)
