"""What the flow layers share."""

import numpy as np
import pytest
from moving_frames import moving

from ccsn_tf.models.flow import LucasKanadeFlow, TVL1Flow, pyramidal_flow


@pytest.mark.parametrize("layer", [TVL1Flow(levels=3, warps=1, iterations=3), LucasKanadeFlow(iterations=1)])
@pytest.mark.parametrize("pairs", [1, 3, 7])
def test_parts_of_a_level_give_what_the_whole_gives(layer, pairs, monkeypatch):
    snippets = np.stack([moving((1.0, -0.5), count=pairs + 1), moving((-2.0, 0.0), count=pairs + 1, seed=3)])
    by_parts = np.asarray(layer(snippets))
    monkeypatch.setattr(pyramidal_flow, "_PARTS", {})
    np.testing.assert_allclose(by_parts, layer(snippets), atol=1e-5)
    assert by_parts.shape == (2, 40, 48, 2 * pairs) and np.abs(by_parts).max() > 0.5


def test_a_level_s_pairs_are_those_of_its_snippets():
    planes = [np.arange(2 * 4 * 3 * 5.0).reshape(8, 3, 5) + 1000 * number for number in range(3)]
    middle = pyramidal_flow.Level(0, 3, *planes).pairs(1, 3)
    assert middle.length == 2
    for kept, plane in zip((middle.images, middle.x, middle.y), planes, strict=True):
        np.testing.assert_array_equal(kept, plane[[1, 2, 3, 5, 6, 7]])
    np.testing.assert_array_equal(middle.first(middle.x), planes[1][[1, 2, 5, 6]])
