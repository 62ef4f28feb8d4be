import collections
import itertools

import numpy as np
import pytest

from ccsn_tf.data.sampling import PLACES, centre_starts, corner_box, middle_frame, random_box, train_starts, view_boxes

SIZES = [(36, 48), (48, 36), (37, 49), (1, 1), (1, 30), (256, 341), (17, 16)]
SCALES = (1.0, 0.875, 0.75, 0.66)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("N, K, L", [(N, K, L) for L in (1, 5) for K in (1, 25) for N in (L, L + 7, 101)])
def test_starts_are_sorted_and_in_range(N, K, L):
    for starts in [centre_starts(N, K, L)] + [train_starts(N, K, L, rng(N)) for _ in range(20)]:
        assert starts.dtype == np.int64 and starts.shape == (K,)
        assert (np.diff(starts) >= 0).all()
        assert starts.min() >= 0 and starts.max() + L <= N
        assert middle_frame(starts, L).max() <= N  # a frame of the clip, which has N + 1


@pytest.mark.parametrize("N, K, L", [(5, 3, 5), (6, 3, 5), (14, 3, 5), (11, 1, 10), (40, 8, 1)])
def test_training_covers_every_position_as_often(N, K, L):
    drawn, positions = rng(), N - L + 1
    starts = np.stack([train_starts(N, K, L, drawn) for _ in range(2000)])
    shares = np.bincount(starts.ravel(), minlength=positions) / starts.size
    np.testing.assert_allclose(shares, 1 / positions, atol=0.02)
    if positions % K == 0:  # each segment has its part
        assert (starts // (positions // K) == np.arange(K)).all()


@pytest.mark.parametrize(
    "N, K, L, expected",
    [
        (34, 3, 5, [5, 15, 25]),
        (5, 3, 5, [0, 0, 0]),
        (9, 1, 5, [2]),
        (6, 2, 5, [0, 1]),
        (29, 25, 5, list(range(25))),
    ],
)
def test_centre_starts(N, K, L, expected):
    assert centre_starts(N, K, L).tolist() == expected


# Space


@pytest.mark.parametrize("height, width", SIZES)
def test_boxes_are_inside(height, width):
    drawn = rng()
    boxes = [random_box(height, width, 0.1, drawn) for _ in range(300)]
    boxes += [box for crops in (1, 3, 5, 10) for box, _ in view_boxes(height, width, crops)]
    assert all(tall == wide for _, _, tall, wide in boxes)
    boxes += [corner_box(height, width, SCALES, drawn) for _ in range(300)]
    for top, left, tall, wide in boxes:
        assert tall >= 1 and wide >= 1 and 0 <= top <= height - tall and 0 <= left <= width - wide


def test_corner_boxes_of_tsn_s_frame_are_these_and_equally_likely():
    """Of 340 x 256: ten pairs of sides, thirteen places each."""
    sides, thirds, quarters = [256, 224, 192, 168], (0, 0.5, 1), (0.25, 0.75)
    expected_places = [*itertools.product(thirds, thirds), *itertools.product(quarters, quarters)]
    expected = collections.Counter(
        (round((256 - sides[i]) * down), round((340 - sides[j]) * right), sides[i], sides[j])
        for i, j in itertools.product(range(4), range(4))
        if abs(i - j) <= 1
        for down, right in expected_places
    )
    assert expected.total() == 130 == 10 * len(set(PLACES))
    drawn, draws = rng(), 13_000
    found = collections.Counter(tuple(corner_box(256, 340, SCALES, drawn).tolist()) for _ in range(draws))
    assert found.keys() == expected.keys()
    for box, count in found.items():
        mean = draws * expected[box] / 130
        assert abs(count - mean) < 5 * mean**0.5


CORNERS = [([*place, 56, 56], False) for place in ((4, 20), (0, 0), (0, 40), (8, 0), (8, 40))]


@pytest.mark.parametrize(
    "height, width, crops, expected",
    [
        (36, 48, 1, [([0, 6, 36, 36], False)]),
        (48, 36, 1, [([6, 0, 36, 36], False)]),
        (36, 48, 3, [([0, left, 36, 36], False) for left in (0, 6, 12)]),
        (48, 36, 3, [([top, 0, 36, 36], False) for top in (0, 6, 12)]),
        (64, 96, 5, CORNERS),
        (64, 96, 10, CORNERS + [(box, True) for box, _ in CORNERS]),
    ],
)
def test_test_views(height, width, crops, expected):
    assert [(box.tolist(), mirrored) for box, mirrored in view_boxes(height, width, crops)] == expected
