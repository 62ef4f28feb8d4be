"""TV-L1 in the graph: against loops over pixels, on known motion, and where there is none."""

import numpy as np
import pytest
from layers import run_layer_test
from moving_frames import moving

from ccsn_tf.errors import UserError
from ccsn_tf.models.flow import TVL1Flow
from ccsn_tf.models.flow.image_ops import CENTRAL, derivatives, enlarge, halve, smooth
from ccsn_tf.models.flow.loops import LOOPED, iterations
from ccsn_tf.models.flow.tvl1_flow import Level

NO_FILTERS = {"median": 0, "smooth": False}
SMALL = {"levels": 2, "warps": 1, "iterations": 3}


@pytest.fixture(autouse=True)
def looped():
    """Plain operations: what XLA makes of them, for seconds at each shape, is the same (`test_loops`)."""
    with iterations(LOOPED):
        yield


def flow_of(frames, **arguments):
    return np.asarray(TVL1Flow(**arguments)(np.asarray(frames)[None]))[0]


def at(image, y, x):
    """The pixel, or that of the border next to it."""
    return image[min(max(y, 0), image.shape[0] - 1)][min(max(x, 0), image.shape[1] - 1)]


def slopes(image):
    height, width = image.shape
    x, y = np.zeros((2, height, width))
    for row in range(height):
        for column in range(width):
            for tap, weight in zip(range(-2, 3), CENTRAL, strict=True):
                x[row, column] += weight * at(image, row, column + tap)
                y[row, column] += weight * at(image, row + tap, column)
    return x, y


def look(image, y, x):
    y, x = min(max(y, 0.0), image.shape[0] - 1.0), min(max(x, 0.0), image.shape[1] - 1.0)
    top, left = int(y), int(x)
    part_y, part_x = y - top, x - left
    above = (1 - part_x) * at(image, top, left) + part_x * at(image, top, left + 1)
    below = (1 - part_x) * at(image, top + 1, left) + part_x * at(image, top + 1, left + 1)
    return (1 - part_y) * above + part_y * below


def reference(first, second, warps, iterations, attachment, tightness, step):
    """One level, pixel by pixel, as the class's equations have it."""
    height, width = first.shape
    pixels = [(y, x) for y in range(height) for x in range(width)]
    u, p = np.zeros((2, height, width)), np.zeros((2, 2, height, width))
    slope_x, slope_y = slopes(second)
    for _ in range(warps):
        start = u.copy()
        places = {(y, x): (y + start[1, y, x], x + start[0, y, x]) for y, x in pixels}
        g = {place: np.array([look(slope_x, *to), look(slope_y, *to)]) for place, to in places.items()}
        seen = {place: look(second, *to) for place, to in places.items()}
        for _ in range(iterations):
            v = np.zeros_like(u)
            for y, x in pixels:
                here = g[y, x]
                rho = seen[y, x] + here @ (u[:, y, x] - start[:, y, x]) - first[y, x]
                ratio, bound = rho / (here @ here + 1e-4), attachment * tightness
                v[:, y, x] = u[:, y, x] - min(max(ratio, -bound), bound) * here
            for i in range(2):
                for y, x in pixels:
                    outflow = p[i, 0, y, x] + p[i, 1, y, x]
                    outflow -= (p[i, 0, y, x - 1] if x else 0) + (p[i, 1, y - 1, x] if y else 0)
                    u[i, y, x] = v[i, y, x] + tightness * outflow
                for y, x in pixels:
                    steps = np.zeros(2)
                    if x + 1 < width:
                        steps[0] = u[i, y, x + 1] - u[i, y, x]
                    if y + 1 < height:
                        steps[1] = u[i, y + 1, x] - u[i, y, x]
                    p[i, :, y, x] += step / tightness * steps
                    p[i, :, y, x] /= 1 + step / tightness * np.hypot(*steps)
    return u.transpose(1, 2, 0)


@pytest.mark.parametrize(("warps", "iterations"), [(1, 3), (2, 2)])
def test_against_loops_over_pixels(warps, iterations):
    frames = moving((0.7, -0.4), 9, 11)
    settings = {"warps": warps, "iterations": iterations, "attachment": 0.2, "tightness": 0.4, "step": 0.2}
    expected = reference(*frames.astype("float64"), **settings)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(flow_of(frames, levels=1, **settings, **NO_FILTERS), expected, atol=2e-4)


@pytest.mark.parametrize("shift", [(-0.5, 1.5), (4.0, -3.0)])
def test_known_translations(shift):
    fields = flow_of(moving(shift, count=3), levels=3, warps=2, iterations=10).reshape(40, 48, 2, 2)
    inner = fields[6:-6, 6:-6]
    np.testing.assert_allclose(np.median(inner, axis=(0, 1)), [shift, shift], atol=0.1)
    assert np.abs(inner - np.array(shift)).mean() < 0.15


def test_frames_and_pairs_do_not_mix():
    snippets = np.stack([moving((1.0, 0.0), count=3), moving((0.0, -2.0), count=3, seed=3)])
    both = np.asarray(TVL1Flow(**SMALL)(snippets))
    for snippet, fields in zip(snippets, both, strict=True):
        for pair in range(2):
            alone = flow_of(snippet[pair : pair + 2], **SMALL)
            np.testing.assert_allclose(fields[..., 2 * pair : 2 * pair + 2], alone, atol=1e-5)


@pytest.mark.parametrize("size", [(33, 35), (1, 1)])
def test_equal_frames_give_exactly_zero_and_others_finite_fields_at_any_size(size):
    frame = np.random.default_rng(0).uniform(0, 255, (1, *size)).astype("float32")
    np.testing.assert_array_equal(flow_of(np.repeat(frame, 3, axis=0), **SMALL), 0.0)
    fields = flow_of(moving((0.5, 0.5), *size), iterations=4)
    assert fields.shape == (*size, 2) and np.isfinite(fields).all()


def test_a_flat_region_takes_the_flow_of_its_surroundings():
    frames = moving((1.0, 0.5), 32, 32)
    frames[:, 12:20, 12:20] = 100.0
    fields = flow_of(frames, warps=3, iterations=25)
    assert np.abs(fields[13:19, 13:19] - [1.0, 0.5]).mean() < 0.4
    np.testing.assert_array_equal(flow_of(np.full((2, 20, 20), 7.0), **SMALL), 0.0)


def test_dual_fields_are_carried_as_the_coarser_level_has_them():
    frames = moving((1.0, 0.5), 20, 24)
    layer = TVL1Flow(**SMALL)
    images = [frames, np.asarray(halve(frames))]
    levels = [Level(number, 1, each, *derivatives(each)) for number, each in enumerate(images)]
    field, *duals = layer.refine(levels[1], np.zeros((2, 1, 10, 12), "float32"))
    assert len(duals) == 2 and np.abs(duals[0]).max() > 0.1
    assert not np.any(np.asarray(duals[0])[..., -1]) and not np.any(np.asarray(duals[1])[..., -1, :])
    finer, *_ = layer.refine(levels[0], 2.0 * enlarge(field, 20, 24), *(enlarge(dual, 20, 24) for dual in duals))
    found = flow_of(frames, **{**SMALL, "smooth": False})
    np.testing.assert_allclose(found, np.moveaxis(finer[:, 0], 0, -1), atol=1e-5)
    seen = flow_of(np.asarray(smooth(frames)), smooth=False, **SMALL)  # smoothed images are what it sees
    np.testing.assert_allclose(flow_of(frames, **SMALL), seen, atol=1e-5)
    assert np.abs(seen - found).max() > 0.01


def test_as_a_layer():
    arguments = {"levels": 1, "warps": 1, "iterations": (2, 3), "median": 0, "smooth": False}
    run_layer_test(TVL1Flow, arguments, moving((1.0, 0.5), 8, 9)[None], output_dtype="float32")


@pytest.mark.parametrize("shape", [(2, 20, 20), (1, 2, 20, 20, 4), (1, 1, 20, 20)])
def test_other_frames_are_refused(shape):
    with pytest.raises(UserError, match=r"F.* Received: \("):
        TVL1Flow()(np.zeros(shape, "uint8"))
