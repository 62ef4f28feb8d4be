import shutil

import odd_videos
import pytest
from videos import moving, truncate, write_video

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


def run(clips, **depth):
    counts = []
    depth = {"quick": False, "alike": False, **depth}
    seen = scan(clips, workers=2, stall_seconds=60, progress=lambda done, total: counts.append((done, total)), **depth)
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
        "if 'ccsn_tf.data.worker' in ' '.join(sys.orig_argv):\n"
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
    seen = scan(clips, False, False, 2, 1.0, lambda done, total: None)
    assert seen["plain"].error.endswith("plain.avi cannot be decoded: no progress for 1 s.")
    assert seen["copy"].error.endswith("copy.avi cannot be decoded: its process was killed by SIGABRT.")
    assert seen["large"].decoded
