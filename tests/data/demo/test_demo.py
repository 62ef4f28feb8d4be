"""The demo set: what its clips show, that positions say nothing about the label, and its files."""

import dataclasses
import hashlib

import cv2
import numpy as np
import pytest

from ccsn_tf.data.demo import render as demo
from ccsn_tf.data.demo.scene import DIRECTIONS, MARKED, OTHER, let_turn, paint_backdrop, render_scene, sample_scene
from ccsn_tf.data.video import iter_frames
from ccsn_tf.errors import UserError


@pytest.fixture(scope="module")
def scenes():
    backdrop, names = paint_backdrop(np.random.default_rng(0), 64), list(DIRECTIONS)
    return [sample_scene(np.random.default_rng(k), names[k % 4], 64, 12, backdrop) for k in range(800)]


def coverage(scene):
    """How much of each pixel each object fills, what is hidden left out: float (2, T, size, size) in 0..1."""
    black = dataclasses.replace(scene, backdrop=np.zeros_like(scene.backdrop))
    white = 255.0 * np.eye(2, dtype=np.float32)[:, :, None, None, None]
    sprites = [np.broadcast_to(own, scene.sprites.shape) for own in white]
    return np.stack([render_scene(dataclasses.replace(black, sprites=own))[..., 0] / 255 for own in sprites])


def test_objects_move_as_the_label_says(scenes):
    for k, scene in enumerate(scenes[:80]):
        assert scene.direction == list(DIRECTIONS)[k % 4] != scene.other_direction
        # From frame to frame, without the camera's shake and the wrapping around.
        steps = np.diff(scene.positions - scene.camera[:, None], axis=0)
        steps = (steps + scene.size / 2) % scene.size - scene.size / 2
        for index, name in ((MARKED, scene.direction), (OTHER, scene.other_direction)):
            expected = scene.speed * np.array(DIRECTIONS[name])
            np.testing.assert_allclose(steps[:, index], np.tile(expected, (11, 1)), atol=1e-9)


def test_silhouettes_are_the_same_and_the_marked_one_is_orange(scenes):
    whole = 0
    for scene in scenes[:12]:
        marked, other = coverage(scene)
        assert (marked + other).max() <= 1 + 1 / 255
        areas = np.stack([marked, other]).sum(axis=(2, 3))
        shown = np.isclose(areas.sum(axis=0), 2 * scene.silhouette.sum(), rtol=2e-3)  # neither hides the other
        np.testing.assert_allclose(areas[0, shown], areas[1, shown], rtol=4e-3)
        whole += shown.sum()
        frames = render_scene(scene).astype(float)
        orange = frames[..., 0] - frames[..., 2]  # red without blue
        assert orange[marked > 0.99].min() > 60 and orange[other > 0.99].max() < 0
    assert whole > 60


@pytest.mark.parametrize("t", [0, 11])
def test_positions_are_uniform_and_independent_for_every_label(scenes, t):
    """At every instant, not only on average over the clip: samplers may prefer the beginning."""
    for direction in DIRECTIONS:
        points = np.stack([scene.positions[t] for scene in scenes if scene.direction == direction]).reshape(-1, 4)
        # Uniform and independent on the torus: the mean of every character exp(2 pi i k.x) but the constant is 0.
        frequencies = np.stack(np.meshgrid(*[[-1, 0, 1]] * 4), axis=-1).reshape(-1, 4)
        frequencies = frequencies[np.any(frequencies, axis=1)]
        means = np.abs(np.exp(2j * np.pi * points @ frequencies.T / 64).mean(axis=0))
        # Of 80 values with Rayleigh's distribution the largest exceeds 4.5 / sqrt(n) hardly ever (1e-7 for all).
        assert means.max() < 4.5 / np.sqrt(len(points))


def test_files_keep_frames_and_flow_finds_both_motions(tmp_path, scenes):
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(0)
    errors = []
    for scene in scenes[:8]:
        demo.write_clip(tmp_path / "clip.avi", render_scene(scene))
        decoded = list(iter_frames(str(tmp_path / "clip.avi"), 64))
        grey, drawn = (
            [cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in frames] for frames in (decoded, render_scene(scene))
        )
        assert np.sqrt(np.mean((np.float32(grey) - np.float32(drawn)) ** 2)) < 3
        inside = coverage(scene) > 0.5
        for t in range(11):
            flow = dis.calc(grey[t], grey[t + 1], None)
            for index, name in ((MARKED, scene.direction), (OTHER, scene.other_direction)):
                if inside[index, t].sum() > 50:
                    true = scene.speed * np.array(DIRECTIONS[name]) + scene.camera[t + 1] - scene.camera[t]
                    errors.append(np.linalg.norm(flow[inside[index, t]].mean(axis=0) - true))
    assert len(errors) > 150
    assert np.mean(errors) < 0.5  # pixels, of a motion of about 1.85


def test_objects_that_turn_move_as_their_truth_says(scenes, tmp_path):
    long = sample_scene(np.random.default_rng(1), "Up", 64, 300, scenes[0].backdrop)
    turned, turns = let_turn(long, np.random.default_rng(2), 20, 60)
    steps = np.diff(turned.positions - turned.camera[:, None], axis=0)
    steps = (steps + 32) % 64 - 32
    starts = [frame for frame, _ in turns]
    assert turns[0] == (0, "Up") and 20 <= min(np.diff(starts)) <= max(np.diff(starts)) <= 60
    for frame, (marked, other) in enumerate(steps, start=1):
        name = turns[np.searchsorted(starts, frame, side="right") - 1][1]
        np.testing.assert_allclose(marked, turned.speed * np.array(DIRECTIONS[name]), atol=1e-9)
        assert np.abs(marked - other).max() > 1  # never the same way
    found = demo.render_long(tmp_path / "a.mp4", seconds=6, size=32)
    assert found[0][0] == 0 and {name for _, name in found} <= set(demo.CLASSES)
    decoded = list(iter_frames(str(tmp_path / "a.mp4"), 32))
    assert len(decoded) == 150 and np.abs(decoded[0].astype(float) - decoded[149]).mean() > 1


# The set

SMALL = {"num_train": 12, "num_test": 4, "size": 32, "num_frames": 3, "workers": 1}


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo") / "set"
    demo.render_demo_set(root, **SMALL)
    return root


def digests(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_layout_and_lists(small_set):
    names = [f"MarkedMoves{direction}" for direction in ("Down", "Left", "Right", "Up")]
    train = [(name, label, f"g{g:02d}_c01.avi") for label, name in enumerate(names, 1) for g in (6, 7, 8)]
    lists = {path.name: path.read_text().splitlines() for path in (small_set / "ucfTrainTestlist").iterdir()}
    assert lists == {
        "classInd.txt": [f"{label} {name}" for label, name in enumerate(names, 1)],
        "trainlist01.txt": [f"{name}/v_{name}_{rest} {label}" for name, label, rest in train],
        "testlist01.txt": [f"{name}/v_{name}_g01_c01.avi" for name in names],
    }
    listed = {line.split()[0] for name in ("trainlist01.txt", "testlist01.txt") for line in lists[name]}
    videos = small_set / "videos"
    assert {path.relative_to(videos).as_posix() for path in videos.rglob("*.*")} == listed
    assert {path.name for path in small_set.iterdir()} == {"videos", "ucfTrainTestlist", "demo.json"}
    clip = demo.DemoClip(label=2, group=7, number=1)
    scene = demo.scene_of(clip, size=32, num_frames=3, seed=0)
    assert scene.direction == "Right"
    decoded = np.stack(list(iter_frames(str(videos / clip.name), 32))).astype(float)
    assert np.abs(decoded - render_scene(scene)).mean() < 6


def test_killed_in_between_it_goes_on_and_a_rerun_does_nothing(small_set, tmp_path):
    def interrupt(count):
        if count == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo.render_demo_set(tmp_path, **SMALL, progress=interrupt)
    with pytest.raises(UserError, match="other arguments"):
        demo.render_demo_set(tmp_path, **{**SMALL, "seed": 1})
    videos = sorted((tmp_path / "videos").glob("*/[!.]*.avi"))  # hidden: what a worker was at when it was ended
    assert 5 <= len(videos) < 16  # workers are ahead of the report
    videos[0].unlink()
    counts = []
    demo.render_demo_set(tmp_path, **{**SMALL, "workers": 2}, progress=counts.append)
    assert counts == list(range(len(videos) - 1, 17))
    visible = {name: digest for name, digest in digests(tmp_path).items() if "/." not in name}
    assert visible == digests(small_set)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    demo.render_demo_set(tmp_path, **SMALL, progress=counts.append)
    assert counts[-1] == 16 and {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("name, value", [("seed", 1), ("size", 34)])
def test_other_arguments_and_content_are_refused(small_set, tmp_path, name, value):
    with pytest.raises(UserError, match=f"^{small_set} .*demo.json: delete the folder"):
        demo.render_demo_set(small_set, **{**SMALL, name: value})
    (tmp_path / "notes.txt").write_text("mine")
    for root in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(UserError, match=f"^{root} .* no demo set: delete the folder"):
            demo.render_demo_set(root, **{**SMALL, name: value})


@pytest.mark.parametrize(
    "name, value, flag",
    [
        *(("num_train", value, "demo_train_clips") for value in (6, 0, 7924)),
        ("num_test", 1984, "demo_test_clips"),
        *(("size", value, "demo_size") for value in (33, 30)),
    ],
)
def test_arguments_out_of_range_are_refused(tmp_path, name, value, flag):
    with pytest.raises(UserError, match=rf"`{name}` \(--{flag}\) .*: {value}"):
        demo.render_demo_set(tmp_path / "set", **{**SMALL, name: value})
    assert not (tmp_path / "set").exists()
