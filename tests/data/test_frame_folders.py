import os

import cv2
import numpy as np
import pytest
import tensorflow as tf
from image_folders import flow_planes, write_clip, write_images
from videos import moving, write_video

from ccsn_tf.data import frames as either
from ccsn_tf.data.frame_folders import count_frames, is_frame_folder, iter_flow, iter_frames, iter_jpegs
from ccsn_tf.data.video import VideoError

N = 6

NAMES = {
    "mmaction2": ("img_%05d.jpg", "flow_x_%05d.jpg", "flow_y_%05d.jpg"),
    "mmaction2's python": ("img_%05d.jpg", "x_%05d.jpg", "y_%05d.jpg"),
    "py-denseflow": ("img_%d.jpg", "flow_x_%d.jpg", "flow_y_%d.jpg"),
    "digits": ("%05d.jpg", "flow_x_%05d.jpg", "flow_y_%05d.jpg"),
    "subfolders": ("frame%06d.jpg", "flow_x/frame%06d.jpg", "flow_y/frame%06d.jpg"),
    "subfolders, full names": ("image_%04d.JPEG", "flow_x/flow_x_%04d.JPG", "flow_y/flow_y_%04d.JPG"),
}


def clip(tmp_path, fields=N - 1, **options):
    return str(write_clip(tmp_path / "clip", moving(N), None if fields is None else flow_planes(fields), **options))


def fields_of(folder, wanted=None):
    return np.array(list(iter_flow(folder, 256, wanted))).transpose(0, 3, 1, 2).astype(int)


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("first", [0, 1])
def test_frames_and_flow_of_every_naming(tmp_path, names, first):
    folder = clip(tmp_path, first=first, names=names)
    assert count_frames(folder) == N
    for number, (frame, drawn) in enumerate(zip(iter_frames(folder, 256), moving(N), strict=True), start=first):
        assert frame.shape == (36, 48, 3) and frame.dtype == np.uint8
        np.testing.assert_array_equal(frame, cv2.imread(os.path.join(folder, names[0] % number))[..., ::-1])
        assert np.corrcoef(frame[..., 1].ravel(), drawn[..., 1].ravel())[0, 1] > 0.99
    np.testing.assert_allclose(fields_of(folder), flow_planes(N - 1), atol=3)


def test_more_than_nine_are_ordered_by_number(tmp_path):
    frames = np.stack([np.full((16, 16, 3), 10 * i, np.uint8) for i in range(12)])
    folder = str(write_clip(tmp_path, frames, names=("img_%d.jpg", "", "")))
    np.testing.assert_allclose([frame.mean() for frame in iter_frames(folder, 256)], 10 * np.arange(12), atol=1)


@pytest.mark.parametrize("first, flow_first", [(0, 0), (1, 1), (1, 0), (0, 1)])
def test_field_i_leaves_frame_i_whatever_the_numbers(tmp_path, first, flow_first):
    """mmaction2's frames count from 1 where denseflow's fields count from 0."""
    folder = clip(tmp_path, first=first, flow_first=flow_first)
    np.testing.assert_allclose(fields_of(folder), flow_planes(N - 1), atol=3)


@pytest.mark.parametrize("first", [0, 1])
def test_as_many_fields_as_frames_means_that_each_leads_to_its_frame(tmp_path, first):
    """TSN's dense_flow writes flow k beside the frame that it leads to: field 0 leads to the first frame."""
    folder = clip(tmp_path, fields=N, first=first)
    np.testing.assert_allclose(fields_of(folder), flow_planes(N)[1:], atol=3)


def test_wanted_frames_and_fields_only(tmp_path):
    folder = clip(tmp_path)
    every, some = list(iter_frames(folder, 256)), list(iter_frames(folder, 256, [1, 4]))
    assert len(some) == 2
    np.testing.assert_array_equal(some[0], every[1])
    np.testing.assert_array_equal(some[1], every[4])
    np.testing.assert_array_equal(fields_of(folder, [0, 3]), fields_of(folder)[[0, 3]])
    os.remove(os.path.join(folder, "img_00003.jpg"))
    (tmp_path / "clip" / "img_00003.jpg").write_bytes(b"damaged, but never looked at")
    assert len(list(iter_frames(folder, 256, [0, 1, 3]))) == 3
    with pytest.raises(VideoError, match="clip ends after 6 frames, before frame 8"):
        list(iter_frames(folder, 256, [1, 7]))


def test_jpegs_of_the_right_size_are_kept_and_larger_ones_scaled(tmp_path):
    folder = clip(tmp_path)
    for number, (frame, jpeg) in enumerate(iter_jpegs(folder, 36), start=1):
        assert jpeg == (tmp_path / "clip" / f"img_{number:05d}.jpg").read_bytes()
        np.testing.assert_array_equal(frame, cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1])
    for (frame, jpeg), full in zip(iter_jpegs(folder, 18), iter_frames(folder, 36), strict=True):
        assert jpeg is None and frame.shape == (18, 24, 3)
        np.testing.assert_allclose(frame, full.reshape(18, 2, 24, 2, 3).mean(axis=(1, 3)), atol=1)


def test_grey_frames_are_frames(tmp_path):
    folder = str(write_images(tmp_path, moving(3)[..., 1], "img_%05d.jpg"))
    for frame in iter_frames(folder, 256):
        assert frame.shape == (36, 48, 3) and (frame[..., 0] == frame[..., 2]).all()


def test_other_files_do_not_matter(tmp_path):
    folder = clip(tmp_path)
    for name in ("Thumbs.db", "flow_00001.png", "flow_x_p2_00001.jpg", "img_00001.jpg.txt", "contact sheet 1.jpg"):
        (tmp_path / "clip" / name).write_bytes(b"x")
    assert count_frames(folder) == N and len(fields_of(folder)) == N - 1


def test_what_a_folder_of_frames_is(tmp_path):
    for name, inside, expected in (
        ("frames", "img_00001.jpg", True),
        ("flow", "flow_y_00000.jpg", True),
        ("below", "flow_x/00001.jpg", True),
        ("text", "notes.txt", False),
        ("videos", "a.mp4", False),
        ("photographs", "holiday (1).jpg", False),
    ):
        path = tmp_path / name / inside
        path.parent.mkdir(parents=True)
        path.touch()
        assert is_frame_folder(tmp_path / name) is expected
    (tmp_path / "lost").mkdir()
    assert is_frame_folder(tmp_path / "lost")


def test_names_with_odd_characters(tmp_path):
    folder = tmp_path / "#1 & [2]; (3) größer 走 100%"
    write_clip(folder, moving(3), flow_planes(2))
    assert len(list(iter_frames(str(folder), 256))) == 3 and len(fields_of(str(folder))) == 2


# Bad folders: one sentence that names the file


def broken(tmp_path, spoil):
    folder = clip(tmp_path)
    spoil(tmp_path / "clip")
    return folder


def overwrite(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def remove(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


def cut(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-300])


def larger(name, grey=False):
    size = (40, 48) if grey else (40, 48, 3)
    return lambda folder: cv2.imwrite(str(folder / name), np.zeros(size, np.uint8))


def as_png(name):
    return overwrite(name, cv2.imencode(".png", np.zeros((36, 48, 3), np.uint8))[1].tobytes())


EVERY_FRAME = [f"img_{number:05d}.jpg" for number in range(1, N + 1)]

BAD_FRAMES = {
    "none": (remove(*EVERY_FRAME), r"clip holds no img_00001\.jpg, or the like: extract it again"),
    "gap": (remove("img_00003.jpg"), r"clip jumps from img_00002\.jpg to img_00004\.jpg: extract it again"),
    "late": (remove("img_00001.jpg", "img_00002.jpg"), r"clip begins with img_00003\.jpg, not with number 0 or 1"),
    "twice": (overwrite("img_3.jpg", b"x"), r"clip has both img_(3|00003)\.jpg and img_(3|00003)\.jpg: remove one"),
    "empty": (overwrite("img_00002.jpg", b""), r"clip/img_00002\.jpg is damaged, or no JPEG"),
    "text": (overwrite("img_00002.jpg", b"404 not found"), r"clip/img_00002\.jpg is damaged, or no JPEG"),
    "png": (as_png("img_00002.jpg"), r"clip/img_00002\.jpg is damaged, or no JPEG"),
    "cut": (cut("img_00005.jpg"), r"clip/img_00005\.jpg is damaged, or no JPEG"),
    "size": (larger("img_00004.jpg"), r"clip/img_00004\.jpg has 48x40 pixels, but img_00001\.jpg 48x36: extract"),
}

BAD_FLOW = {
    "none": (remove(*(f"flow_{a}_{i:05d}.jpg" for a in "xy" for i in range(1, N))), r"clip holds no flow_x_00001\.jpg"),
    "no y": (remove(*(f"flow_y_{i:05d}.jpg" for i in range(1, N))), r"clip holds no flow_y_00001\.jpg, or the like"),
    "one y less": (remove("flow_y_00005.jpg"), r"clip has 5 images of x-flow and 4 of y-flow: extract its flow again"),
    "gap in y": (remove("flow_y_00002.jpg"), r"clip jumps from flow_y_00001\.jpg to flow_y_00003\.jpg"),
    "too few": (remove("flow_x_00005.jpg", "flow_y_00005.jpg"), r"clip has 6 frames and 4 flow fields: extract"),
    "cut": (cut("flow_y_00003.jpg"), r"clip/flow_y_00003\.jpg is damaged, or no JPEG"),
    "size": (
        larger("flow_x_00004.jpg", grey=True),
        r"clip/flow_x_00004\.jpg has 48x40 pixels, but img_00001\.jpg 48x36",
    ),
    "first frame": (overwrite("img_00001.jpg", b"x"), r"clip/img_00001\.jpg is damaged, or no JPEG"),
}


@pytest.mark.parametrize("spoil, reason", BAD_FRAMES.values(), ids=BAD_FRAMES)
def test_bad_frames(tmp_path, spoil, reason):
    with pytest.raises(VideoError, match=reason) as caught:
        list(iter_frames(broken(tmp_path, spoil), 256))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spoil, reason", BAD_FLOW.values(), ids=BAD_FLOW)
def test_bad_flow(tmp_path, spoil, reason):
    with pytest.raises(VideoError, match=reason) as caught:
        list(iter_flow(broken(tmp_path, spoil), 256))
    assert "\n" not in str(caught.value)


def test_flow_is_never_scaled(tmp_path):
    with pytest.raises(
        VideoError, match=r"frames of 48x36 pixels, and --flow=stored scales no flow: pass --short_side=36"
    ):
        list(iter_flow(clip(tmp_path), 35))
    assert len(list(iter_flow(clip(tmp_path), 36))) == N - 1


def test_folder_that_is_not_there(tmp_path):
    with pytest.raises(VideoError, match=r"absent cannot be read \(No such file"):
        count_frames(str(tmp_path / "absent"))


def test_loop_of_links(tmp_path):
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "img_00001.jpg").symlink_to("img_00001.jpg")
    with pytest.raises(VideoError, match=r"img_00001\.jpg cannot be read \(Too many levels of symbolic links\)"):
        list(iter_frames(str(tmp_path / "clip"), 256))


@pytest.mark.parametrize("options", [[], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]])
def test_a_jpeg_that_is_kept_is_one_that_tensorflow_reads(tmp_path, options):
    """Training ends where TensorFlow meets a JPEG that it refuses; OpenCV alone lets many of these pass."""
    rng = np.random.default_rng(0)
    jpeg = cv2.imencode(".jpg", moving(1)[0], options)[1].tobytes()
    path = tmp_path / "img_00001.jpg"
    kept = 0
    for attempt in range(150):
        spoilt = bytearray(jpeg)
        at, length = int(rng.integers(2, len(jpeg))), int(rng.integers(1, 60))
        damage = rng.integers(0, 256, length, np.uint8).tobytes() if attempt % 2 else b""
        spoilt[at : at + length] = damage
        path.write_bytes(bytes(spoilt))
        try:
            ((_, content),) = iter_jpegs(str(tmp_path), 256)
        except VideoError:
            continue
        tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")
        kept += 1
    assert kept < 150


# One reader for videos and folders


def test_either_reader(tmp_path):
    video = str(write_video(tmp_path / "a.avi", moving(4)))
    folder = str(write_clip(tmp_path / "a", moving(5)))
    assert either.count_frames(video) == 4 and either.count_frames(folder) == 5
    assert len(list(either.iter_frames(video, 256))) == 4
    assert [frame.shape for frame in either.iter_frames(folder, 18, [0, 2])] == [(18, 24, 3)] * 2


def test_a_folder_has_changed_when_a_file_in_it_has(tmp_path):
    video = write_video(tmp_path / "a.avi", moving(2))
    assert either.changed_at(str(video)) == os.stat(video).st_ctime_ns
    folder = write_clip(tmp_path / "clip", moving(2), flow_planes(1), names=NAMES["subfolders"])
    for name in ("frame000002.jpg", "flow_y/frame000001.jpg"):
        before = either.changed_at(str(folder))
        while either.changed_at(str(folder)) == before:  # clocks of file systems tick slowly
            (folder / name).write_bytes((folder / name).read_bytes())
        assert either.changed_at(str(folder)) == os.stat(folder / name).st_ctime_ns > before
