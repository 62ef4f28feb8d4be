import shutil

import image_folders
import odd_videos
import pytest
from videos import moving, truncate, write_video

from ccsn_tf.config import DataConfig
from ccsn_tf.data.checks.scan import Scanned, scan
from ccsn_tf.data.datasets import Clip
from ccsn_tf.data.video import Decoded


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scan")
    write_video(folder / "plain.avi", moving(14))
    shutil.copy(folder / "plain.avi", folder / "copy.avi")
    write_video(folder / "large.mp4", moving(30, height=72, width=96), options={"bf": "0", "g": "10"})
    truncate(write_video(folder / "cut.avi", moving(40)), 0.5)
    odd_videos.HOPELESS["text.mp4"](folder / "text.mp4")
    return [Clip(path.stem, str(path), "A", path.stem) for path in sorted(folder.iterdir())]


def run(clips, flow="dis", **depth):
    counts = []
    depth = {"quick": False, "alike": False, **depth}
    config = DataConfig(workers=2, flow=flow)
    seen = scan(clips, config, progress=lambda done, total: counts.append((done, total)), **depth)
    assert counts == [(done, len(clips)) for done in range(len(clips) + 1)]
    return seen


def test_every_video_is_decoded(clips):
    seen = run(clips)
    assert seen["plain"].decoded == seen["copy"].decoded == Decoded(frames=14, width=48, height=36, concealed=0)
    assert seen["large"] == Scanned("", Decoded(frames=30, width=96, height=72, concealed=0))
    assert "is truncated" in seen["cut"].error and not seen["cut"].decoded
    assert "cannot be read as a video" in seen["text"].error
    assert len(seen["plain"].digest) == 64 and seen["plain"].digest == seen["copy"].digest
    assert not any(look.likeness for look in seen.values())


def test_quick_looks_at_the_ends(clips):
    seen = run(clips, quick=True)
    assert seen["plain"].decoded == Decoded(frames=14, width=48, height=36, concealed=0)
    assert seen["large"].decoded == Decoded(frames=30, width=96, height=72, concealed=0)
    assert "is truncated" in seen["cut"].error and seen["text"].error


def test_alike(clips):
    seen = run(clips, alike=True)
    assert len(seen["plain"].likeness) == 5 and seen["plain"].likeness == seen["copy"].likeness
    assert seen["plain"].likeness != seen["large"].likeness


def test_a_video_that_hangs_or_kills_is_told_like_others(clips, tmp_path, monkeypatch):
    # A worker imports ccsn_tf from the module path, where a decoder that does not come back takes its place.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'ccsn_tf.data.prepare.worker' in ' '.join(sys.orig_argv):\n"
        "    import time\n"
        "    from ccsn_tf.data import video\n"
        "    whole = video.decode_whole\n"
        "    def decode(path, beat):\n"
        "        if 'plain' in path: time.sleep(100)\n"
        "        if 'copy' in path: os.abort()\n"
        "        return whole(path, beat)\n"
        "    video.decode_whole = decode\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    seen = scan(clips, DataConfig(workers=2, stall_seconds=1.0), False, False, lambda done, total: None)
    assert "plain.avi cannot be decoded: no progress for 1 s" in seen["plain"].error
    assert "copy.avi cannot be decoded: its process was killed by SIGABRT" in seen["copy"].error
    assert seen["large"].decoded


@pytest.mark.parametrize("quick", [False, True])
def test_folders_of_frames(tmp_path, quick):
    frames = moving(14)
    for name in ("whole", "copy", "gap", "torn", "flowless"):
        image_folders.write_clip(tmp_path / name, frames, image_folders.flow_planes(13))
    (tmp_path / "gap" / "img_00005.jpg").unlink()
    truncate(tmp_path / "torn" / "img_00014.jpg", 0.5)
    truncate(tmp_path / "flowless" / "flow_x_00013.jpg", 0.5)
    clips = [Clip(path.name, str(path), "A", path.name) for path in sorted(tmp_path.iterdir())]
    seen = run(clips, flow="stored", quick=quick)
    assert seen["whole"].decoded == Decoded(frames=14, width=48, height=36, concealed=0)
    assert seen["whole"].digest == seen["copy"].digest != ""
    assert "jumps from" in seen["gap"].error and "img_00014.jpg is damaged" in seen["torn"].error
    assert "flow_x_00013.jpg is damaged" in seen["flowless"].error
    assert run(clips, quick=quick)["flowless"].decoded


def test_folders_of_frames_that_look_the_same(tmp_path):
    clip = image_folders.write_clip(tmp_path / "frames", moving(14))
    assert len(run([Clip("frames", str(clip), "A", "1")], alike=True)["frames"].likeness) == 5
