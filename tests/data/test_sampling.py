import numpy as np
import pytest

from ccsn_tf.data.sampling import centre_starts, middle_frame, train_starts

SIZES = [(N, K, L) for L in (1, 5, 10) for K in (1, 3, 25) for N in (*range(L, L + 8), 100, 1001)]


@pytest.mark.parametrize("N, K, L", SIZES)
def test_starts_are_sorted_and_in_range(N, K, L):
    rng = np.random.default_rng(N)
    for starts in [centre_starts(N, K, L)] + [train_starts(N, K, L, rng) for _ in range(20)]:
        assert starts.dtype == np.int64 and starts.shape == (K,)
        assert (np.diff(starts) >= 0).all()
        assert starts.min() >= 0 and starts.max() + L <= N
        assert middle_frame(starts, L).max() <= N  # a frame of the clip, which has N + 1


@pytest.mark.parametrize("N, K, L", [(5, 3, 5), (6, 3, 5), (13, 3, 5), (20, 3, 5), (11, 1, 10), (40, 8, 1)])
def test_training_covers_every_position(N, K, L):
    rng = np.random.default_rng(0)
    seen = {int(start) for _ in range(600) for start in train_starts(N, K, L, rng)}
    assert seen == set(range(N - L + 1))


def test_every_position_is_as_likely():
    rng = np.random.default_rng(0)
    starts = np.concatenate([train_starts(14, 3, 5, rng) for _ in range(6000)])
    shares = np.bincount(starts, minlength=10) / len(starts)
    np.testing.assert_allclose(shares, 0.1, atol=0.01)


def test_each_segment_has_its_part():
    rng = np.random.default_rng(0)
    drawn = np.stack([train_starts(34, 3, 5, rng) for _ in range(300)])
    assert (drawn.min(axis=0) == [0, 10, 20]).all() and (drawn.max(axis=0) == [9, 19, 29]).all()


@pytest.mark.parametrize(
    "N, K, L, expected",
    [
        (34, 3, 5, [5, 15, 25]),
        (5, 3, 5, [0, 0, 0]),
        (9, 1, 5, [2]),
        (6, 2, 5, [0, 1]),
        (7, 3, 5, [0, 1, 2]),
        (29, 25, 5, list(range(25))),
    ],
)
def test_centre_starts(N, K, L, expected):
    assert centre_starts(N, K, L).tolist() == expected


def test_same_generator_same_starts():
    draws = [train_starts(50, 3, 5, np.random.default_rng(seed)).tolist() for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize("L, offset", [(1, 0), (2, 1), (5, 2), (10, 5)])
def test_middle_frame_is_inside_the_snippet(L, offset):
    assert middle_frame(np.array([0, 7]), L).tolist() == [offset, 7 + offset]
