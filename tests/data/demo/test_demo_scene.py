"""What a clip of the demo set shows, and that positions say nothing about the label."""

import cv2
import numpy as np
import pytest

from ccsn_tf.data.demo import render as demo
from ccsn_tf.data.demo.scene import (
    DIRECTIONS,
    MARKED,
    OTHER,
    paint_backdrop,
    render_clip,
    render_scene,
    sample_scene,
    visible_coverage,
)
from ccsn_tf.data.video import iter_frames


@pytest.fixture(scope="module")
def backdrop():
    return paint_backdrop(np.random.default_rng(0), 64)


@pytest.fixture(scope="module")
def scenes(backdrop):
    names = list(DIRECTIONS)
    return [sample_scene(np.random.default_rng(k), names[k % 4], backdrop=backdrop) for k in range(1200)]


def test_clip_shape_and_type(backdrop):
    frames = render_clip(np.random.default_rng(1), "Up", size=64, num_frames=5, backdrop=backdrop)
    assert frames.shape == (5, 64, 64, 3)
    assert frames.dtype == np.uint8
    np.testing.assert_array_equal(frames, render_clip(np.random.default_rng(1), "Up", 64, 5, backdrop))


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_objects_move_as_the_label_says(direction, backdrop):
    for seed in range(20):
        scene = sample_scene(np.random.default_rng(seed), direction, backdrop=backdrop)
        assert scene.direction == direction
        # From frame to frame, without the camera's shake and the wrapping around.
        steps = np.diff(scene.positions - scene.camera[:, None], axis=0)
        steps = (steps + scene.size / 2) % scene.size - scene.size / 2
        for index, name in ((MARKED, direction), (OTHER, scene.other_direction)):
            expected = scene.speed * np.array(DIRECTIONS[name])
            np.testing.assert_allclose(steps[:, index], np.tile(expected, (11, 1)), atol=1e-9)


def test_shake_stays_small(scenes):
    shake = np.stack([np.diff(scene.camera, axis=0) for scene in scenes])
    assert 0.3 < np.abs(shake).mean() < 0.6
    assert np.abs(shake).max() < 1.5
    assert max(np.abs(scene.camera).max() for scene in scenes) < 4


def test_other_object_takes_every_other_direction_equally_often(scenes):
    for direction in DIRECTIONS:
        others = [scene.other_direction for scene in scenes if scene.direction == direction]
        names, counts = np.unique(others, return_counts=True)
        assert set(names) == set(DIRECTIONS) - {direction}
        assert counts.min() > len(others) / 3 - 40  # nearly five standard deviations


def test_silhouettes_are_the_same(scenes):
    checked = 0
    for scene in scenes[:200]:
        coverage = visible_coverage(scene, 0)
        # Where nothing is hidden both fill the same number of pixels; moving by fractions only shares them out.
        areas = coverage.sum(axis=(1, 2))
        if np.isclose(areas.sum(), 2 * scene.silhouette.sum(), rtol=1e-5):
            np.testing.assert_allclose(areas, scene.silhouette.sum(), rtol=1e-5)
            checked += 1
        assert coverage.sum(axis=0).max() <= 1 + 1e-5
    assert checked > 100


def test_either_object_is_in_front_half_of_the_time(scenes):
    assert 0.45 < np.mean([scene.marked_in_front for scene in scenes]) < 0.55


def test_marked_object_is_orange_where_it_should_be(backdrop):
    scene = sample_scene(np.random.default_rng(3), "Left", backdrop=backdrop)
    for t, frame in enumerate(render_scene(scene).astype(float)):
        marked, other = visible_coverage(scene, t) > 0.99
        red, blue = frame[..., 0], frame[..., 2]
        assert (red - blue)[marked].min() > 60
        assert (red - blue)[other].max() < 0


def test_luminance_does_not_show_the_mark(scenes):
    """Grey images, from which flow is computed, have the same statistics on both objects."""
    figures = []
    for scene in scenes:
        grey = cv2.cvtColor(np.round(scene.sprites.reshape(2, -1, 3)).astype(np.uint8), cv2.COLOR_RGB2GRAY)
        assert grey.min() >= 79
        assert grey.max() <= 177
        figures.append([grey.mean(axis=1), grey.std(axis=1)])
    difference = np.array(figures)[..., MARKED] - np.array(figures)[..., OTHER]
    error = difference.std(axis=0) / np.sqrt(len(scenes))
    # The mark's hue may only enter through rounding: less than a fifth of a grey level, up to chance.
    assert (np.abs(difference.mean(axis=0)) < 0.2 + 4 * error).all()


@pytest.mark.parametrize("t", [0, 5, 11])
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


def test_flow_finds_both_motions(tmp_path, backdrop):
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(0)
    errors = []
    for seed, direction in enumerate(list(DIRECTIONS) * 2):
        scene = sample_scene(np.random.default_rng(seed), direction, backdrop=backdrop)
        demo.write_clip(tmp_path / "clip.avi", render_scene(scene))
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in iter_frames(str(tmp_path / "clip.avi"), 64)]
        for t in range(11):
            flow = dis.calc(grey[t], grey[t + 1], None)
            for index, name in ((MARKED, scene.direction), (OTHER, scene.other_direction)):
                inside = visible_coverage(scene, t)[index] > 0.5
                if inside.sum() > 50:
                    true = scene.speed * np.array(DIRECTIONS[name]) + scene.camera[t + 1] - scene.camera[t]
                    errors.append(np.linalg.norm(flow[inside].mean(axis=0) - true))
    assert len(errors) > 150
    assert np.mean(errors) < 0.5  # pixels, of a motion of about 1.85


@pytest.mark.parametrize("arguments", [{"direction": "up"}, {"size": 30}, {"num_frames": 1}])
def test_scene_refuses(arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))}="):
        sample_scene(np.random.default_rng(0), **{"direction": "Up", **arguments})
