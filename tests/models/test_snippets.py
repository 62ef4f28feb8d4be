"""The network cut at the features of snippets."""

import numpy as np
import pytest
from small_models import clips, kept, model, predict

from ccsn_tf.errors import UserError
from ccsn_tf.models.folding import fold_batch_norms
from ccsn_tf.models.snippets import snippet_parts


def test_the_parts_are_the_whole():
    network = kept("cross_attention")
    for whole in (network, fold_batch_norms(network)):
        snippets, heads = snippet_parts(whole)
        for segments in (1, 4):
            inputs = clips(segments=segments)
            features = snippets(inputs)
            assert {name: tuple(value.shape) for name, value in features.items()} == dict.fromkeys(
                ("spatial", "temporal"), (2, segments, 96)
            )
            assert_close(predict(heads, features), predict(whole, inputs))


@pytest.mark.parametrize("argument, value", [("consensus", "trn"), ("span", "clip")])
def test_what_cannot_be_cut(argument, value):
    with pytest.raises(UserError, match=f"`{argument}` {value}"):
        snippet_parts(model(**{argument: value}))


def assert_close(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-6, atol=1e-6)
