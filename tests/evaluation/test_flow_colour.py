import numpy as np

from ccsn_tf.evaluation.flow_colour import colour_wheel, flow_to_colour, full_speed


def test_a_few_wild_vectors_do_not_set_the_scale():
    flow = np.ones((100, 100, 2), np.float32)
    flow[0, :10] = 900.0
    flow[1, 1] = np.nan
    assert full_speed([flow]) == np.float32(2**0.5)


def test_a_still_scene_is_not_amplified():
    assert full_speed([np.full((4, 4, 2), 1e-3, np.float32)]) == 0.5
    assert full_speed([]) == full_speed([np.full((2, 2, 2), np.nan, np.float32)]) == 0.5


def test_the_key_shows_the_flow_that_points_there():
    wheel = colour_wheel(41)
    assert wheel.shape == (41, 41, 4) and wheel.dtype == np.uint8
    assert (wheel[[0, 0, -1, -1], [0, -1, 0, -1], 3] == 0).all() and wheel[20, 20].tolist() == [255, 255, 255, 255]
    right, down = flow_to_colour(np.array([[[1.0, 0.0], [0.0, 1.0]]]), 1.0)[0]
    np.testing.assert_allclose(wheel[20, 39, :3], right, atol=16)
    np.testing.assert_allclose(wheel[39, 20, :3], down, atol=16)
