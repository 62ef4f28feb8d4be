import shutil

import image_folders
import pytest
from videos import moving, truncate, write_video

from ccsn_tf.config import Config, DataConfig
from ccsn_tf.data.checks.videos import Scanned, check_videos, scan
from ccsn_tf.data.datasets import Clip, Listing, Split

NAMES = tuple(f"{label}/{n}" for label in "AB" for n in range(10))
TRAIN, TEST = (tuple(name for name in NAMES if (int(name[-1]) < 3) == is_test) for is_test in (False, True))
CLIPS = tuple(Clip(name, f"{name}.avi", name[0], name) for name in NAMES)
SOUND, BAD = Scanned(frames=40), Scanned("It is damaged.")


@pytest.mark.parametrize(
    "others, settings, expected",
    [
        ({}, {}, []),
        ({"A/4": BAD}, {}, [("unreadable", "A/4", False)]),
        ({"A/4": Scanned(frames=40, concealed=3)}, {}, [("damaged in places", "A/4", False)]),
        ({"B/9": Scanned(frames=5)}, {}, [("short", "B/9", False)]),
        ({"B/9": Scanned(frames=6)}, {}, []),
        ({"B/9": Scanned(frames=10)}, {"flow_stride": 2}, [("short", "B/9", False)]),
        (
            {"A/4": BAD, "B/9": Scanned(frames=5)},
            {},
            [("unreadable", "A/4", False), ("short", "B/9", False), ("much is missing", "", True)],
        ),
        (
            {f"B/{n}": BAD for n in range(3)},
            {},
            [("unreadable", f"B/{n}", False) for n in range(3)]
            + [("much is missing", "", True), ("few clips", "", False)],
        ),
        (
            {f"B/{n}": BAD for n in range(3, 10)},
            {},
            [("unreadable", f"B/{n}", False) for n in range(3, 10)]
            + [("much is missing", "", True), ("class without clips", "", True), ("few clips", "", False)],
        ),
        ({}, {"split": 3}, [("no such split", "", True)]),
        (
            {"A/5": Scanned(frames=40, digest="x"), "B/0": Scanned(frames=40, digest="x")},
            {"dataset": "folder"},
            [("same video on both sides", "A/5", True)],
        ),
    ],
    ids=str,
)
def test_what_a_scan_shows(others, settings, expected):
    listing = Listing(("A", "B"), CLIPS, {1: Split(TRAIN, TEST)})
    config = Config().replace(flow_length=5, **settings)
    found = check_videos(config, listing, {name: others.get(name, SOUND) for name in NAMES})
    assert [(finding.kind, finding.clip, finding.blocks) for finding in found] == expected


def test_absent_clips_count_as_missing():
    listing = Listing(("A", "B"), CLIPS, {1: Split(TRAIN, TEST)}, absent=(("A/77", "gone"), ("A/78", "gone")))
    (finding,) = check_videos(Config(), listing, dict.fromkeys(NAMES, SOUND))
    assert finding.message.startswith("2 of 22 clips are absent or cannot be used")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scan")
    write_video(folder / "plain.avi", moving(14))
    shutil.copy(folder / "plain.avi", folder / "copy.avi")
    write_video(folder / "large.mp4", moving(30, height=72, width=96), options={"bf": "0", "g": "10"})
    truncate(write_video(folder / "cut.avi", moving(40)), 0.5)
    (folder / "text.mp4").write_text("This is no video.")
    write_video(folder / "deadly.avi", moving(6))
    for name in ("whole", "twin", "gap", "torn", "flowless"):
        image_folders.write_clip(folder / name, moving(6), image_folders.flow_planes(5))
    (folder / "gap" / "img_00003.jpg").unlink()
    truncate(folder / "torn" / "img_00006.jpg", 0.5)
    truncate(folder / "flowless" / "flow_x_00005.jpg", 0.5)
    return [Clip(path.stem, str(path), "A", path.stem) for path in sorted(folder.iterdir())]


def test_scan(clips, tmp_path, monkeypatch):
    # A worker imports ccsn_tf from the module path, where a decoder that dies takes another's place.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'ccsn_tf.data.prepare.worker' in ' '.join(sys.orig_argv):\n"
        "    from ccsn_tf.data import video\n"
        "    def decode(path, beat, real=video.decode_whole):\n"
        "        return os.abort() if 'deadly' in path else real(path, beat)\n"
        "    video.decode_whole = decode\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    counts = []
    config = DataConfig(workers=1, flow="stored")
    seen = scan(clips, config, lambda *count: counts.append(count))
    assert counts == [(done, len(clips)) for done in range(len(clips) + 1)]
    frames = {"plain": 14, "copy": 14, "large": 30, "whole": 6, "twin": 6}
    assert {name: look.frames for name, look in seen.items() if not look.error} == frames
    for name, error in (
        ("cut", "is truncated"),
        ("text", "cannot be read as a video"),
        ("deadly", "SIGABRT"),
        ("gap", "jumps from"),
        ("torn", "img_00006.jpg is damaged"),
        ("flowless", "flow_x_00005.jpg is damaged"),
    ):
        assert error in seen[name].error
    for one, other in (("plain", "copy"), ("whole", "twin")):
        assert seen[one].digest == seen[other].digest != ""
    assert not seen["large"].digest  # no other file is as long
