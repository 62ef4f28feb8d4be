import numpy as np
import pytest

from ccsn_tf.data.augment import random_box, view_boxes

SIZES = [(36, 48), (48, 36), (37, 49), (1, 1), (1, 30), (16, 16), (256, 341), (17, 16)]


@pytest.mark.parametrize("height, width", SIZES)
def test_random_box_is_inside(height, width):
    rng = np.random.default_rng(0)
    for _ in range(300):
        top, left, side = random_box(height, width, 0.1, rng)
        assert side >= 1
        assert 0 <= top <= height - side
        assert 0 <= left <= width - side


def test_random_box_reaches_every_side_and_edge():
    rng = np.random.default_rng(0)
    boxes = np.stack([random_box(20, 30, 0.75, rng) for _ in range(3000)])
    top, left, side = boxes.T
    assert set(side) == set(range(15, 21))
    assert top.min() == left.min() == 0
    assert (top + side).max() == 20 and (left + side).max() == 30


def test_scale_1_is_the_short_side():
    rng = np.random.default_rng(0)
    assert {tuple(random_box(20, 20, 1.0, rng)) for _ in range(20)} == {(0, 0, 20)}


def test_same_generator_same_box():
    boxes = [random_box(200, 300, 0.5, np.random.default_rng(seed)).tolist() for seed in (3, 3, 4)]
    assert boxes[0] == boxes[1] != boxes[2]


def as_lists(views):
    return [(box.tolist(), mirrored) for box, mirrored in views]


def test_one_view_is_the_largest_centre_square():
    assert as_lists(view_boxes(36, 48, 1)) == [([0, 6, 36], False)]
    assert as_lists(view_boxes(48, 36, 1)) == [([6, 0, 36], False)]


def test_five_views_are_centre_and_corners():
    boxes = [[4, 20, 56], [0, 0, 56], [0, 40, 56], [8, 0, 56], [8, 40, 56]]
    assert as_lists(view_boxes(64, 96, 5)) == [(box, False) for box in boxes]


@pytest.mark.parametrize("height, width", SIZES)
def test_ten_views_are_five_and_the_same_mirrored(height, width):
    five, ten = as_lists(view_boxes(height, width, 5)), as_lists(view_boxes(height, width, 10))
    assert ten[:5] == five
    assert ten[5:] == [(box, True) for box, _ in five]


@pytest.mark.parametrize("crops", [1, 5, 10])
@pytest.mark.parametrize("height, width", SIZES)
def test_views_are_inside(height, width, crops):
    views = view_boxes(height, width, crops)
    assert len(views) == crops
    for (top, left, side), _ in views:
        assert side >= 1 and 0 <= top <= height - side and 0 <= left <= width - side


def test_three_crops_cover_the_long_side():
    assert as_lists(view_boxes(36, 48, 3)) == [([0, left, 36], False) for left in (0, 6, 12)]
    assert as_lists(view_boxes(48, 36, 3)) == [([top, 0, 36], False) for top in (0, 6, 12)]
