"""What all connection blocks have in common, and the registry."""

import keras
import numpy as np
import pytest
from layers import arrays, features, randomise, run_layer_test

from ccsn_tf.config.settings import CONNECTIONS
from ccsn_tf.models.connections import ConnectionBlock, connection_maker
from ccsn_tf.models.connections.attention import CrossAttention, SharedAffinityConnection
from ccsn_tf.models.connections.block import ConcatConnection, ProductConnection, SumConnection

KINDS = [kind for kind in CONNECTIONS if kind != "none"]
SHAPES = {"segment": (2, 3, 4, 8), "clip": (2, 3, 2, 4, 8)}

# A bias in front of batch normalisation is taken out by it; one that is the same for all keys, by the softmax.
AFTER_ALL = ["_output/bias", "_value/bias", "_key/bias"]
LAYERS = [
    (SumConnection, {}, ["to_spatial/bias", "to_temporal/bias"]),
    (ProductConnection, {}, []),
    (ConcatConnection, {}, ["to_spatial/bias", "to_temporal/bias"]),
    (SharedAffinityConnection, {"heads": 2}, ["_output/bias", "_value/bias"]),
    (CrossAttention, {"heads": 2, "position": "none"}, AFTER_ALL),
    (CrossAttention, {"heads": 2, "position": "distance"}, AFTER_ALL),
    (CrossAttention, {"heads": 2, "position": "mlp"}, [*AFTER_ALL, "_bias/outer/bias"]),
]


def make_connection(kind, heads, position, name, dropout=0.0):
    return connection_maker(kind, heads=heads, position=position, dropout=dropout)(name)


def pair(shape):
    return [features(*shape), features(*shape, seed=1)]


def joining(kind, shape, position="distance"):
    """A built block with random weights."""
    block = make_connection(kind, 2, position, "block")
    block(pair(shape))
    randomise(block)
    return block


@pytest.mark.parametrize("span", SHAPES)
@pytest.mark.parametrize(("layer", "arguments", "still"), LAYERS)
def test_layer(layer, arguments, still, span):
    run_layer_test(layer, arguments, pair(SHAPES[span]), still)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("span", SHAPES)
@pytest.mark.parametrize("training", [False, True])
def test_a_new_block_is_exactly_the_identity(kind, span, training):
    block = make_connection(kind, 2, "mlp", "block")
    maps = pair(SHAPES[span])
    outputs = block(maps, training=training)
    assert isinstance(outputs, tuple)
    for output, stream in zip(arrays(outputs), maps, strict=True):
        np.testing.assert_array_equal(output, stream)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("span", SHAPES)
def test_with_a_scale_of_one_each_stream_hears_of_the_other(kind, span):
    block = make_connection(kind, 2, "distance", "block")
    maps = pair(SHAPES[span])
    block(maps)
    for norm in block.norms:
        norm.gamma.assign(np.ones(norm.gamma.shape))
    before = arrays(block(maps))
    for own, other in ((0, 1), (1, 0)):
        changed = list(maps)
        changed[other] = features(*SHAPES[span], seed=2)
        after = arrays(block(changed))
        assert np.abs(after[own] - before[own]).max(axis=tuple(range(1, before[own].ndim))).min() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_the_directions_have_weights_of_their_own(kind):
    maps = pair(SHAPES["segment"])
    block = joining(kind, SHAPES["segment"], "mlp")
    before = arrays(block(maps))
    for weight in block.weights:
        value = weight.numpy()
        weight.assign(value + np.linspace(0.5, 1.0, value.size).reshape(value.shape))
        changed = {
            side
            for side, a, b in zip(("spatial", "temporal"), arrays(block(maps)), before, strict=True)
            if np.abs(a - b).max() > 1e-4
        }
        weight.assign(value)
        name = weight.path.removeprefix("block/")
        if name.endswith(("_key/bias", "outer/bias")):  # the same for all of the other stream's positions
            expected = set()
        elif name.startswith(("theta", "phi")):
            # The bias of a query counts, the bias of a key does not: theta(S) asks for the spatial stream.
            expected = {"theta/bias": {"spatial"}, "phi/bias": {"temporal"}}.get(name, {"spatial", "temporal"})
        else:
            expected = {side for side in ("spatial", "temporal") if side in name}
            assert len(expected) == 1
        assert changed == expected, name


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_last_scale_learns_at_first(kind):
    """While BN_0's scale is zero nothing behind it has a gradient: it must itself have one."""
    tf = pytest.importorskip("tensorflow")
    block = make_connection(kind, 2, "distance", "block")
    maps = pair(SHAPES["segment"])
    block(maps)
    with tf.GradientTape() as tape:
        outputs = block(maps, training=True)
        loss = sum(keras.ops.sum(output * features(*output.shape, seed=5)) for output in outputs)
    variables = block.trainable_variables
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    moving = {v.path for v, g in zip(variables, gradients, strict=True) if np.abs(g.numpy()).max() > 1e-6}
    assert moving == {f"block/{side}_norm/{part}" for side in ("spatial", "temporal") for part in ("gamma", "beta")}


@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_block_uses_its_moving_statistics(kind):
    maps = pair(SHAPES["segment"])
    block = joining(kind, SHAPES["segment"])
    inferred, trained = arrays(block(maps)), arrays(block(maps, training=True))
    assert all(np.abs(a - b).max() > 1e-3 for a, b in zip(inferred, trained, strict=True))
    inferred = arrays(block(maps))  # training has moved the statistics
    block.trainable = False
    for a, b in zip(inferred, arrays(block(maps, training=True)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not block.trainable_variables


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("span", SHAPES)
def test_dropout_leaves_out_whole_messages_in_training_alone(kind, span):
    shape = (40, *SHAPES[span][1:])
    maps = pair(shape)
    kept, dropping = (make_connection(kind, 2, "distance", "block", dropout=rate) for rate in (0.0, 0.5))
    for block in (kept, dropping):
        block(maps)
    randomise(kept)
    sources = {weight.path: weight for weight in kept.weights}
    for weight in dropping.weights:
        if weight.path in sources:  # not the random state
            weight.assign(sources[weight.path])
    keras.utils.set_random_seed(3)
    messages = [out - own for out, own in zip(arrays(kept(maps, training=True)), maps, strict=True)]
    dropped = [out - own for out, own in zip(arrays(dropping(maps, training=True)), maps, strict=True)]
    shares = []
    for whole, part in zip(messages, dropped, strict=True):
        axes = tuple(range(1, whole.ndim))
        share = (whole * part).sum(axes) / (whole * whole).sum(axes)
        np.testing.assert_allclose(part, share.reshape(-1, *[1] * len(axes)) * whole, atol=1e-4)
        shares.append(share.round(3))
    assert {*shares[0], *shares[1]} == {0.0, 2.0}
    assert 20 < (np.array(shares) == 0).sum() < 60 and not np.array_equal(*shares), "each direction by itself"
    for a, b in zip(arrays(kept(maps)), arrays(dropping(maps)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shapes", [((2, 3, 4, 8), (2, 3, 5, 8)), ((2, 3, 4, 8), (2, 3, 4, 6))])
def test_maps_of_different_shape_are_refused(kind, shapes):
    block = make_connection(kind, 2, "distance", "block")
    with pytest.raises(ValueError, match="joins maps of one shape"):
        block([features(*shape) for shape in shapes])
    with pytest.raises(ValueError, match="joins maps of one shape"):
        make_connection(kind, 2, "distance", "block")([keras.Input(shape[1:]) for shape in shapes])


@pytest.mark.parametrize("kind", KINDS)
def test_make_connection_passes_everything_on(kind):
    block = make_connection(kind, 3, "mlp", "joint")
    assert isinstance(block, ConnectionBlock) and block.name == "joint"
    config = block.get_config()
    heads = {"heads": 3} if kind in ("shared_affinity", "nonlocal", "cross_attention") else {}
    position = {"nonlocal": {"position": "none"}, "cross_attention": {"position": "mlp"}}.get(kind, {})
    assert {name: config[name] for name in ("heads", "position") if name in config} == {**heads, **position}


def test_nonlocal_is_cross_attention_without_position():
    maps = pair(SHAPES["segment"])
    plain, without = joining("nonlocal", SHAPES["segment"]), joining("cross_attention", SHAPES["segment"], "none")
    assert type(plain) is type(without)
    assert [weight.path for weight in plain.weights] == [weight.path for weight in without.weights]
    for a, b in zip(arrays(plain(maps)), arrays(without(maps)), strict=True):
        np.testing.assert_array_equal(a, b)
