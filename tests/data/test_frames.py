import os

import cv2
import numpy as np
import pytest
from image_folders import flow_planes, write_clip
from videos import moving, write_video

from ccsn_tf.data.frames import changed_at, count_frames, is_frame_folder, iter_flow, iter_frames, iter_jpegs
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
def test_frames_and_flow_of_every_naming(tmp_path, names):
    folder = clip(tmp_path, first=0, names=names)
    assert count_frames(folder) == N
    for number, (frame, drawn) in enumerate(zip(iter_frames(folder, 256), moving(N), strict=True)):
        assert frame.shape == (36, 48, 3) and frame.dtype == np.uint8
        np.testing.assert_array_equal(frame, cv2.imread(os.path.join(folder, names[0] % number))[..., ::-1])
        assert np.corrcoef(frame[..., 1].ravel(), drawn[..., 1].ravel())[0, 1] > 0.99
    np.testing.assert_allclose(fields_of(folder), flow_planes(N - 1), atol=3)


@pytest.mark.parametrize(
    "fields, first, flow_first", [(N - 1, 1, 1), (N - 1, 1, 0), (N - 1, 0, 1), (N, 0, None), (N, 1, None)]
)
def test_field_i_leaves_frame_i_whatever_the_numbers(tmp_path, fields, first, flow_first):
    """mmaction2's frames count from 1 where denseflow's fields count from 0. As many fields as frames: TSN's dense_flow
    writes flow k beside the frame that it leads to, and field 0 leads to the first frame."""
    folder = clip(tmp_path, fields, first=first, flow_first=flow_first)
    np.testing.assert_allclose(fields_of(folder), flow_planes(fields)[fields - (N - 1) :], atol=3)


def test_wanted_frames_and_fields_only(tmp_path):
    folder = clip(tmp_path)
    every, some = list(iter_frames(folder, 256)), list(iter_frames(folder, 256, [1, 4]))
    np.testing.assert_array_equal(some, [every[1], every[4]])
    np.testing.assert_array_equal(fields_of(folder, [0, 3]), fields_of(folder)[[0, 3]])
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


def test_frames_and_flow_as_png(tmp_path):
    """Without loss, grey, with transparency, of 16 bits and among JPEGs; none is taken for a JPEG to be kept."""
    images = {1: moving(N)[0], 2: moving(N)[1][..., :1], 3: np.dstack([moving(N)[2], np.full((36, 48), 9, np.uint8)])}
    images |= {4: moving(N)[3].astype(np.uint16) * 257, 5: moving(N)[4], 6: moving(N)[5]}
    for number, image in images.items():
        swapped = image[..., [2, 1, 0, *range(3, image.shape[-1])]] if image.shape[-1] > 1 else image
        cv2.imwrite(str(tmp_path / f"frame_{number:03d}.{'jpg' if number == 6 else 'PNG'}"), swapped)
    for axis, planes in zip("xy", flow_planes(N - 1).transpose(1, 0, 2, 3), strict=True):
        for number, plane in enumerate(planes, start=1):
            cv2.imwrite(str(tmp_path / f"flow_{axis}_{number:05d}.png"), plane)
    frames = list(iter_jpegs(str(tmp_path), 256))
    for (frame, jpeg), number in zip(frames, images, strict=True):
        assert (jpeg is not None) == (number == 6) and frame.dtype == np.uint8
        expected = moving(N)[number - 1]
        expected = np.repeat(expected[..., :1], 3, axis=-1) if number == 2 else expected
        np.testing.assert_allclose(frame, expected, atol=60 if number == 6 else 0)
    np.testing.assert_array_equal(fields_of(str(tmp_path)), flow_planes(N - 1))
    png = (tmp_path / "frame_003.PNG").read_bytes()
    for spoilt in (png[:-20], png[:200] + b"\x00" + png[201:], png[:8], png.replace(b"IEND", b"JEND")):
        (tmp_path / "frame_003.PNG").write_bytes(spoilt)
        with pytest.raises(VideoError, match=r"frame_003\.PNG is damaged"):
            list(iter_frames(str(tmp_path), 256))


def test_other_files_and_odd_names_do_not_matter(tmp_path):
    folder = write_clip(tmp_path / "#1 & [2]; (3) größer 走 100%", moving(3), flow_planes(2))
    for name in ("Thumbs.db", "flow_00001.png", "flow_x_p2_00001.jpg", "img_00001.jpg.txt", "contact sheet 1.jpg"):
        (folder / name).write_bytes(b"x")
    assert len(list(iter_frames(str(folder), 256))) == 3 and len(fields_of(str(folder))) == 2


@pytest.mark.parametrize(
    "inside, expected",
    [
        ("img_00001.jpg", True),
        ("flow_y_00000.jpg", True),
        ("flow_x/00001.jpg", True),
        ("notes.txt", False),
        ("a.mp4", False),
        ("holiday (1).jpg", False),
        ("img_00001.png", True),
        ("", False),
    ],
)
def test_what_a_folder_of_frames_is(tmp_path, inside, expected):
    if inside:
        (tmp_path / inside).parent.mkdir(exist_ok=True)
        (tmp_path / inside).touch()
    assert is_frame_folder(tmp_path) is expected


# Bad folders: one sentence that names the file


def overwrite(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def remove(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


def cut(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-300])


def larger(name):
    return lambda folder: cv2.imwrite(str(folder / name), np.zeros((40, 48), np.uint8))


def link_to_itself(name):
    return lambda folder: (folder / name).unlink() or (folder / name).symlink_to(name)


Y = [f"flow_y_{number:05d}.jpg" for number in range(1, N)]
FRAMES = [f"img_{number:05d}.jpg" for number in range(1, N + 1)]

BAD_FRAMES = {
    "none": (remove(*FRAMES), r"clip holds no img_00001\.jpg"),
    "gap": (remove(FRAMES[2]), r"clip jumps from img_00002\.jpg to img_00004\.jpg"),
    "late": (remove(*FRAMES[:2]), r"clip begins with img_00003\.jpg"),
    "twice": (overwrite("img_3.jpg", b"x"), r"clip has both img_(3|00003)\.jpg and img_(3|00003)\.jpg: remove one"),
    "empty": (overwrite(FRAMES[1], b""), r"clip/img_00002\.jpg is damaged"),
    "text": (overwrite(FRAMES[1], b"404 not found"), r"clip/img_00002\.jpg is damaged"),
    "png": (overwrite(FRAMES[1], b"\x89PNG\r\n\x1a\n"), r"clip/img_00002\.jpg is damaged, or neither JPEG nor PNG"),
    "cut": (cut(FRAMES[4]), r"clip/img_00005\.jpg is damaged"),
    "size": (larger(FRAMES[3]), r"clip/img_00004\.jpg has 48x40 pixels, but img_00001\.jpg 48x36"),
    "loop": (link_to_itself(FRAMES[3]), r"img_00004\.jpg cannot be read \(Too many levels of symbolic links\)"),
}
BAD_FLOW = {
    "none": (remove(*Y, *(name.replace("y", "x") for name in Y)), r"clip holds no flow_x_00001\.jpg"),
    "no y": (remove(*Y), r"clip holds no flow_y_00001\.jpg"),
    "one y less": (remove(Y[4]), r"clip has 5 images of x-flow and 4 of y-flow"),
    "gap in y": (remove(Y[1]), r"clip jumps from flow_y_00001\.jpg to flow_y_00003\.jpg"),
    "too few": (remove("flow_x_00005.jpg", "flow_y_00005.jpg"), r"clip has 6 frames and 4 flow fields"),
    "cut": (cut(Y[2]), r"clip/flow_y_00003\.jpg is damaged"),
    "size": (larger("flow_x_00004.jpg"), r"clip/flow_x_00004\.jpg has 48x40 pixels, but img_00001\.jpg 48x36"),
    "first frame": (overwrite(FRAMES[0], b"x"), r"clip/img_00001\.jpg is damaged"),
}
BAD = [(iter_frames, *case) for case in BAD_FRAMES.values()] + [(iter_flow, *case) for case in BAD_FLOW.values()]


@pytest.mark.parametrize("read, spoil, reason", BAD, ids=[*BAD_FRAMES, *(f"flow: {name}" for name in BAD_FLOW)])
def test_bad_folders(tmp_path, read, spoil, reason):
    folder = clip(tmp_path)
    spoil(tmp_path / "clip")
    with pytest.raises(VideoError, match=reason) as caught:
        list(read(folder, 256))
    assert "\n" not in str(caught.value)


def test_flow_is_never_scaled(tmp_path):
    with pytest.raises(VideoError, match=r"48x36 pixels.*--flow=stored.* --short_side=36"):
        list(iter_flow(clip(tmp_path), 35))
    assert len(list(iter_flow(clip(tmp_path), 36))) == N - 1


# One reader for videos and folders


def test_a_folder_has_changed_when_a_file_in_it_has(tmp_path):
    video = write_video(tmp_path / "a.avi", moving(2))
    assert changed_at(str(video)) == os.stat(video).st_ctime_ns
    folder = write_clip(tmp_path / "clip", moving(2), flow_planes(1), names=NAMES["subfolders"])
    for name in ("frame000002.jpg", "flow_y/frame000001.jpg"):
        before = changed_at(str(folder))
        while changed_at(str(folder)) == before:  # clocks of file systems tick slowly
            (folder / name).write_bytes((folder / name).read_bytes())
        assert changed_at(str(folder)) == os.stat(folder / name).st_ctime_ns > before
