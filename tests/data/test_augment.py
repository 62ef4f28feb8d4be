import collections
import itertools

import numpy as np
import pytest

from ccsn_tf.data.augment import PLACES, corner_box, random_box, view_boxes

SIZES = [(36, 48), (48, 36), (37, 49), (1, 1), (1, 30), (16, 16), (256, 341), (17, 16)]


@pytest.mark.parametrize("height, width", SIZES)
def test_random_box_is_inside(height, width):
    rng = np.random.default_rng(0)
    for _ in range(300):
        top, left, side, across = random_box(height, width, 0.1, rng)
        assert side == across >= 1
        assert 0 <= top <= height - side
        assert 0 <= left <= width - side


def test_random_box_reaches_every_side_and_edge():
    rng = np.random.default_rng(0)
    boxes = np.stack([random_box(20, 30, 0.75, rng) for _ in range(3000)])
    top, left, side, _ = boxes.T
    assert set(side) == set(range(15, 21))
    assert top.min() == left.min() == 0
    assert (top + side).max() == 20 and (left + side).max() == 30


def test_scale_1_is_the_short_side():
    rng = np.random.default_rng(0)
    assert {tuple(random_box(20, 20, 1.0, rng)) for _ in range(20)} == {(0, 0, 20, 20)}


def test_same_generator_same_box():
    boxes = [random_box(200, 300, 0.5, np.random.default_rng(seed)).tolist() for seed in (3, 3, 4)]
    assert boxes[0] == boxes[1] != boxes[2]


SCALES = (1.0, 0.875, 0.75, 0.66)


def test_corner_boxes_of_tsn_s_frame_are_these_and_equally_likely():
    """Of 340 x 256: ten pairs of sides, thirteen places each."""
    sides, thirds, quarters = [256, 224, 192, 168], (0, 0.5, 1), (0.25, 0.75)
    places = [*itertools.product(thirds, thirds), *itertools.product(quarters, quarters)]
    expected = collections.Counter(
        (round((256 - sides[i]) * down), round((340 - sides[j]) * right), sides[i], sides[j])
        for i, j in itertools.product(range(4), range(4))
        if abs(i - j) <= 1
        for down, right in places
    )
    assert expected.total() == 130 == 10 * len(set(PLACES))
    rng = np.random.default_rng(0)
    draws = 26_000
    found = collections.Counter(tuple(corner_box(256, 340, SCALES, rng).tolist()) for _ in range(draws))
    assert found.keys() == expected.keys()
    for box, count in found.items():
        mean = draws * expected[box] / 130
        assert abs(count - mean) < 5 * mean**0.5


@pytest.mark.parametrize("height, width", SIZES)
def test_corner_boxes_are_inside(height, width):
    rng = np.random.default_rng(0)
    for _ in range(300):
        top, left, tall, wide = corner_box(height, width, SCALES, rng)
        assert tall >= 1 and wide >= 1
        assert 0 <= top <= height - tall and 0 <= left <= width - wide


def test_one_scale_leaves_squares_of_one_size_in_corners_and_between():
    rng = np.random.default_rng(0)
    boxes = {tuple(corner_box(40, 40, [0.5], rng).tolist()) for _ in range(400)}
    places = {(5 * down, 5 * right) for down, right in PLACES}
    assert boxes == {(*place, 20, 20) for place in places}


def as_lists(views):
    return [(box.tolist(), mirrored) for box, mirrored in views]


def test_one_view_is_the_largest_centre_square():
    assert as_lists(view_boxes(36, 48, 1)) == [([0, 6, 36, 36], False)]
    assert as_lists(view_boxes(48, 36, 1)) == [([6, 0, 36, 36], False)]


def test_five_views_are_centre_and_corners():
    boxes = [[*place, 56, 56] for place in ((4, 20), (0, 0), (0, 40), (8, 0), (8, 40))]
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
    for (top, left, side, across), _ in views:
        assert side == across >= 1 and 0 <= top <= height - side and 0 <= left <= width - side


def test_three_crops_cover_the_long_side():
    assert as_lists(view_boxes(36, 48, 3)) == [([0, left, 36, 36], False) for left in (0, 6, 12)]
    assert as_lists(view_boxes(48, 36, 3)) == [([top, 0, 36, 36], False) for top in (0, 6, 12)]
