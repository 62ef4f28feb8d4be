"""The network cut at the features of snippets."""

import numpy as np
import pytest
from small_models import SIZE, clips, kept, model, predict

from ccsn_tf.errors import UserError
from ccsn_tf.models.folding import fold_batch_norms
from ccsn_tf.models.snippets import snippet_parts


@pytest.mark.parametrize("connection", ["cross_attention", "sum", None])
def test_the_parts_are_the_whole(connection):
    network = kept(connection)
    for whole in (network, fold_batch_norms(network)):
        snippets, heads = snippet_parts(whole)
        for segments in (1, 4):
            inputs = clips(segments=segments)
            features = snippets(inputs)
            assert {name: tuple(value.shape) for name, value in features.items()} == dict.fromkeys(
                ("spatial", "temporal"), (2, segments, 96)
            )
            assert_close(predict(heads, features), predict(whole, inputs))


def test_features_are_those_of_a_snippet_alone():
    snippets, _ = snippet_parts(kept())
    inputs = clips(segments=3)
    together = snippets(inputs)
    for number in range(3):
        alone = snippets({name: value[:, number : number + 1] for name, value in inputs.items()})
        for name, value in alone.items():
            np.testing.assert_allclose(value[:, 0], together[name][:, number], rtol=1e-5, atol=1e-6)


def test_flow_in_the_network():
    network = model(flow_source="graph", flow_length=2)
    frames = np.random.default_rng(0).integers(0, 256, (1, 2, 3, SIZE, SIZE, 3)).astype("uint8")
    snippets, heads = snippet_parts(network)
    assert_close(predict(heads, snippets({"frames": frames})), predict(network, {"frames": frames}))


@pytest.mark.parametrize("argument, value", [("consensus", "trn"), ("span", "clip")])
def test_what_cannot_be_cut(argument, value):
    with pytest.raises(UserError, match=f"`{argument}` {value}"):
        snippet_parts(model(**{argument: value}))


def assert_close(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-6, atol=1e-6)
