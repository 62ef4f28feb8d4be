"""The demo set: its files, and what a set looks like on disk."""

import hashlib
import re
import subprocess
import sys

import numpy as np
import pytest

from ccsn_tf.data.demo import render as demo
from ccsn_tf.data.demo.scene import paint_backdrop, render_clip, render_scene
from ccsn_tf.data.video import iter_frames
from ccsn_tf.errors import UserError

SMALL = {"num_train": 40, "num_test": 8, "size": 32, "num_frames": 3, "workers": 1}


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo") / "set"
    demo.render_demo_set(root, **SMALL)
    return root


def digests(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def lines(root, name):
    return (root / "ucfTrainTestlist" / name).read_text().splitlines()


# Files


@pytest.fixture
def backdrop():
    return paint_backdrop(np.random.default_rng(0), 64)


def test_write_clip_keeps_frames_and_bytes(tmp_path, backdrop):
    frames = render_clip(np.random.default_rng(2), "Down", backdrop=backdrop)
    for name in ("a.avi", "b.avi"):
        demo.write_clip(tmp_path / name, frames, fps=25)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.avi", "b.avi"]
    assert (tmp_path / "a.avi").read_bytes() == (tmp_path / "b.avi").read_bytes()
    decoded = np.stack(list(iter_frames(str(tmp_path / "a.avi"), 64)))
    assert decoded.shape == frames.shape
    luminance = [frame @ [0.299, 0.587, 0.114] for frame in (frames, decoded)]
    assert np.sqrt(np.mean((luminance[0] - luminance[1]) ** 2)) < 3


# The set


def test_layout_and_lists(small_set):
    assert lines(small_set, "classInd.txt") == [
        "1 MarkedMovesDown",
        "2 MarkedMovesLeft",
        "3 MarkedMovesRight",
        "4 MarkedMovesUp",
    ]
    train, test = lines(small_set, "trainlist01.txt"), lines(small_set, "testlist01.txt")
    assert len(train) == 40
    assert len(test) == 8
    numbers = {name: number for number, name in (line.split() for line in lines(small_set, "classInd.txt"))}
    pattern = re.compile(r"(\w+)/v_(\w+)_g(\d\d)_c(\d\d)\.avi")
    names, groups = [], []
    for entry in [line.split() for line in train + test]:
        match = pattern.fullmatch(entry[0])
        assert match
        assert match[1] == match[2]
        assert entry[1:] in ([numbers[match[1]]], [])
        names.append(entry[0])
        groups.append(int(match[3]))
    assert all(len(line.split()) == 2 for line in train)
    assert all(len(line.split()) == 1 for line in test)
    assert min(groups[:40]) > demo.NUM_TEST_GROUPS >= max(groups[40:])
    files = {path.relative_to(small_set / "videos").as_posix() for path in (small_set / "videos").rglob("*.*")}
    assert files == set(names)
    assert {path.name for path in small_set.iterdir()} == {"videos", "ucfTrainTestlist", "demo.json"}


def test_classes_are_balanced_in_every_group():
    clips = demo.demo_clips(2000, range(6, 26))
    assert len(set(clips)) == 2000
    cells = np.zeros((4, 26), int)
    for clip in clips:
        cells[clip.label, clip.group] += 1
    assert (cells[:, 6:] == 25).all()


def test_files_show_the_scenes(small_set):
    clip = demo.DemoClip(label=2, group=7, number=1)
    decoded = np.stack(list(iter_frames(str(small_set / "videos" / clip.name), 32))).astype(float)
    scene = demo.demo_scene_of(clip, size=32, num_frames=3, seed=0)
    assert scene.direction == "Right"
    assert np.abs(decoded - render_scene(scene)).mean() < 6


def test_same_seed_same_bytes_however_many_processes(small_set, tmp_path):
    demo.render_demo_set(tmp_path, **{**SMALL, "workers": 2})
    assert digests(tmp_path) == digests(small_set)


def test_other_seed_other_clips(small_set, tmp_path):
    demo.render_demo_set(tmp_path, **{**SMALL, "num_train": 4, "num_test": 4, "seed": 1})
    ours, theirs = digests(tmp_path), digests(small_set)
    assert not {ours[name] for name in ours if name.endswith(".avi")} & set(theirs.values())


def test_rerun_does_nothing(small_set):
    before = {path: path.stat().st_mtime_ns for path in small_set.rglob("*")}
    counts = []
    demo.render_demo_set(small_set, **SMALL, progress=counts.append)
    assert counts == [48]
    assert {path: path.stat().st_mtime_ns for path in small_set.rglob("*")} == before


def test_interrupted_set_is_completed(small_set, tmp_path):
    def interrupt(count):
        if count == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo.render_demo_set(tmp_path, **SMALL, progress=interrupt)
    assert not (tmp_path / "demo.json").exists()
    with pytest.raises(UserError, match="other parameters"):
        demo.render_demo_set(tmp_path, **{**SMALL, "seed": 1})
    videos = sorted((tmp_path / "videos").glob("*/[!.]*.avi"))  # hidden: what a worker was at when it was ended
    assert 10 <= len(videos) < 48  # workers are ahead of the report
    videos[0].write_bytes(videos[0].read_bytes()[:-1000])
    videos[1].write_bytes(b"")
    counts = []
    demo.render_demo_set(tmp_path, **SMALL, progress=counts.append)
    assert counts == list(range(len(videos) - 2, 49))
    assert digests(tmp_path) == digests(small_set)


def test_worker_that_dies(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(UserError, match="end as they start"):
        demo.render_demo_set(tmp_path, **SMALL)


def test_lost_clip_of_a_finished_set_is_redone(small_set, tmp_path):
    few = {**SMALL, "num_train": 4, "num_test": 4}
    demo.render_demo_set(tmp_path, **few)
    before = digests(tmp_path)
    next((tmp_path / "videos").rglob("*.avi")).unlink()
    (tmp_path / "ucfTrainTestlist" / "classInd.txt").unlink()
    demo.render_demo_set(tmp_path, **few)
    assert digests(tmp_path) == before


@pytest.mark.parametrize("name, value", [("seed", 1), ("num_train", 44), ("size", 34), ("num_frames", 4)])
def test_other_parameters_are_refused(small_set, name, value):
    with pytest.raises(UserError, match=f"{re.escape(str(small_set))} .*delete the folder"):
        demo.render_demo_set(small_set, **{**SMALL, name: value})


def test_other_content_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="no demo set: delete the folder or choose another one"):
        demo.render_demo_set(tmp_path, **SMALL)
    with pytest.raises(UserError, match="no demo set"):
        demo.render_demo_set(tmp_path / "notes.txt", **SMALL)


@pytest.mark.parametrize(
    "name, value",
    [("num_train", 6), ("num_train", 0), ("num_train", 7924), ("num_test", 1984), ("size", 33), ("size", 30)]
    + [("num_frames", 1), ("seed", -1), ("workers", -1)],
)
def test_arguments_out_of_range_are_refused(tmp_path, name, value):
    with pytest.raises(UserError, match=f"--{name}={value} "):
        demo.render_demo_set(tmp_path / "set", **{**SMALL, name: value})
    assert not (tmp_path / "set").exists()


def test_import_is_light():
    code = "import sys, ccsn_tf.data.demo.render; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
