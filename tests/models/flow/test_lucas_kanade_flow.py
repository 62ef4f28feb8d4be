"""Lucas-Kanade in the graph: against loops over windows, on known motion, and where there is none."""

import numpy as np
import pytest
import tensorflow as tf
from layers import run_layer_test
from moving_frames import moving

from ccsn_tf.models.flow import LucasKanadeFlow


def flow_of(frames, **arguments):
    return np.asarray(LucasKanadeFlow(**arguments)(np.asarray(frames)[None]))[0]


def test_against_loops_over_windows():
    """Inside, where no window meets the border: one level, one iteration."""
    first, second = moving((0.6, -0.3), 13, 14).astype("float64")
    fields = flow_of([first, second], levels=1, iterations=1, window=5, regularisation=2.0)
    slope_x = (8 * (first[:, 3:-1] - first[:, 1:-3]) - (first[:, 4:] - first[:, :-4])) / 12
    slope_y = (8 * (first[3:-1] - first[1:-3]) - (first[4:] - first[:-4])) / 12
    for y in range(4, 9):
        for x in range(4, 10):
            matrix, side = 2.0 * np.eye(2), np.zeros(2)
            for row in range(y - 2, y + 3):
                for column in range(x - 2, x + 3):
                    g = np.array([slope_x[row, column - 2], slope_y[row - 2, column]])
                    matrix += np.outer(g, g) / 25
                    side += g * (second[row, column] - first[row, column]) / 25
            np.testing.assert_allclose(fields[y, x], -np.linalg.solve(matrix, side), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shift", [(1.0, 0.0), (-0.5, 1.5), (3.0, -2.0)])
def test_known_translations(shift):
    inner = flow_of(moving(shift), iterations=5)[8:-8, 8:-8]
    np.testing.assert_allclose(np.median(inner, axis=(0, 1)), shift, atol=0.1)


@pytest.mark.parametrize("size", [(33, 35), (5, 40), (1, 1)])
def test_equal_frames_give_exactly_zero(size):
    frame = np.random.default_rng(0).uniform(0, 255, (1, *size)).astype("float32")
    np.testing.assert_array_equal(flow_of(np.repeat(frame, 3, axis=0)), 0.0)


def test_a_cut_is_bounded_and_has_finite_gradients():
    cut = tf.constant(np.random.default_rng(0).uniform(0, 255, (1, 2, 24, 30)), tf.float32)
    layer = LucasKanadeFlow(regularisation=1e-3)
    with tf.GradientTape() as tape:
        tape.watch(cut)
        fields = layer(cut)
    assert 1 < np.abs(fields).max() <= 30
    assert np.isfinite(tape.gradient(fields, cut)).all()


def test_as_a_layer(tmp_path):
    frames = moving((1.0, 0.5), 16, 20, count=3)[None]
    run_layer_test(LucasKanadeFlow, {"levels": 2, "iterations": 2}, frames, tmp_path, output_dtype="float32")
