import os
import pathlib
import shutil

import cv2
import numpy as np
import pytest
from image_folders import write_clip
from odd_videos import CONTAINERS, write_container
from videos import moving, write_video

from ccsn_tf.data.datasets.videos import VideoFinder, videos_below, videos_of

OTHERS = {
    "page.ts": b"export const a: number = 1;\n" * 30,
    "notes.txt": b"jump 1\n",
    "more.txt": b"",
    "Thumbs.db": bytes(4000),
    "table.csv": b"a.mp4,1\n" * 99,
    "noise.bin": np.random.default_rng(0).bytes(9000),
    "list.m3u8": b"#EXTM3U\n#EXTINF:1,\nCLIP.MP4\n#EXT-X-ENDLIST\n",
    "concat.txt": b"ffconcat version 1.0\nfile CLIP.MP4\n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    for name in CONTAINERS:
        write_container(folder / name)
    for name, content in OTHERS.items():
        (folder / name).write_bytes(content)
    cv2.imwrite(str(folder / "picture.jpg"), moving(1)[0])
    cv2.imwrite(str(folder / "picture.png"), moving(1)[0])
    return folder


def test_every_container_whatever_its_name(folder):
    found = videos_below(folder)
    assert found.paths == sorted(CONTAINERS)
    assert found.unused == {".txt": 3, ".ts": 1, ".db": 1, ".csv": 1, ".bin": 1, ".m3u8": 1, ".jpg": 1, ".png": 1}
    assert found.in_words() == "Not recognised: 3 .txt, 1 .bin, 1 .csv, 1 .db, 1 .jpg, 1 .m3u8, 1 .png, 1 .ts."


def test_a_camera_s_other_files_beside_a_video(tmp_path):
    """GoPro's small copy is a video, too, under another suffix: it would be on both sides of a split."""
    write_video(tmp_path / "GH01.MP4", moving(8))
    shutil.copy(tmp_path / "GH01.MP4", tmp_path / "GH01.LRV")
    (tmp_path / "GH01.THM").write_bytes(b"\xff\xd8")
    assert videos_below(tmp_path) == (["GH01.MP4"], {".LRV": 1, ".THM": 1})


def test_links_are_followed_and_loops_noticed(tmp_path):
    (tmp_path / "disk" / "deep").mkdir(parents=True)
    (tmp_path / "disk" / "deep" / "a.mp4").touch()
    root = tmp_path / "root"
    root.mkdir()
    (root / "linked").symlink_to(tmp_path / "disk")
    (root / "file.mp4").symlink_to(tmp_path / "disk" / "deep" / "a.mp4")
    (root / "gone.mp4").symlink_to("nowhere")
    (tmp_path / "disk" / "back").symlink_to(root)
    (tmp_path / "disk" / "deep" / "itself").symlink_to(".")
    os.mkfifo(root / "pipe.mp4")
    found = videos_below(root)
    assert found.paths == ["file.mp4", "linked/deep/a.mp4"]
    assert found.unused == {"link that leads nowhere": 1, "link to a folder that it is in": 2, "device or pipe": 1}


def test_folders_of_frames(tmp_path):
    write_clip(tmp_path / "a" / "jpeg", moving(6))
    (tmp_path / "a" / "png").mkdir()
    cv2.imwrite(str(tmp_path / "a" / "png" / "1.png"), moving(1)[0])
    write_video(tmp_path / "a" / "jpeg.avi", moving(6))  # of which the frames were extracted
    write_video(tmp_path / "a" / "poster" / "b.mp4", moving(6))
    cv2.imwrite(str(tmp_path / "a" / "poster" / "1.jpg"), moving(1)[0])  # beside a video, not in its place
    found = videos_below(tmp_path)
    assert found.paths == ["a/jpeg.avi", "a/png", "a/poster/b.mp4"]
    assert found.unused == {"folder of frames beside its video": 1, ".jpg": 1}


def test_what_a_command_is_given(tmp_path):
    for name in ("x/b.mp4", "x/a.avi", "c.mp4", "x/notes.txt", "frames/img_00001.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    given = [str(tmp_path / name) for name in ("c.mp4", "x", "frames", "empty", "absent.mp4")]
    videos, notes = videos_of(given)
    assert [str(pathlib.Path(video).relative_to(tmp_path)) for video in videos] == [
        "c.mp4",
        "x/a.avi",
        "x/b.mp4",
        "frames",
        "empty",
        "absent.mp4",
    ]
    assert notes == [f"{tmp_path}/x: Not recognised: 1 .txt."]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("run/a.mp4", "run/a.mp4"),
        ("run/a", "run/a.mp4"),
        ("run/a.AVI", "run/a.mp4"),
        ("'run/b 1.mp4'", "run/b 1.mp4"),
        (r"run\\a.avi", "run/a.mp4"),
        ('".\\run\\a.avi"', "run/a.mp4"),
        ("run/v1.2", "run/v1.2"),
        ("run/v1.2.avi", "run/v1.2"),
        ("run/../run/a.mp4", "run/a.mp4"),
        ("'quoted'.mp4", "'quoted'.mp4"),
        ("back\\slash.mp4", "back\\slash.mp4"),
        ("run/c.mp4", None),
        ("C:\\data\\a.mp4", None),
    ],
)
def test_a_path_as_a_list_has_it(tmp_path, text, expected):
    for name in ("run/a.mp4", "run/b 1.mp4", "run/v1.2/img_00001.jpg", "'quoted'.mp4", "back\\slash.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    relative, video = VideoFinder(tmp_path).find_written(text.replace("\\\\", "\\"))
    assert (video and str(video.relative_to(tmp_path))) == expected
    assert not relative.is_absolute() and ("\\" not in str(relative) or video)
