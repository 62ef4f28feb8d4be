"""Three ways of running iterations, which compute the same."""

import numpy as np
import pytest
import tensorflow as tf
from moving_frames import moving

from ccsn_tf.models.flow import TVL1Flow, iterating
from ccsn_tf.models.flow.iterating import COMPILED, LOOPED, WRITTEN_OUT, compiled, iterations, repeat

WAYS = (COMPILED, LOOPED, WRITTEN_OUT)


def small(**arguments):
    return TVL1Flow(levels=2, iterations=(4, 3), **arguments)


def graph(way, frames):
    """The operations of the flow's graph, in it and in its functions, by name."""
    with iterations(way):
        made = tf.function(small()).get_concrete_function(tf.TensorSpec((None, *frames.shape[1:]), tf.uint8))
    definition = made.graph.as_graph_def()
    functions = definition.library.function
    nodes = [*definition.node, *(node for function in functions for node in function.node_def)]
    return [node.op for node in nodes], [function.attr for function in functions]


@pytest.mark.parametrize("way", (LOOPED, WRITTEN_OUT))
def test_flow_is_the_same(way):
    frames = np.stack([moving((1.0, -0.5), count=4), moving((-2.0, 0.5), count=4, seed=3)])
    wanted = np.asarray(small()(frames))
    with iterations(way):
        found = np.asarray(small()(frames))
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert np.abs(wanted).max() > 0.5


def test_a_graph_is_made_in_the_way_that_is_asked_for():
    frames = moving((1.0, 0.0), count=3)[None].astype("uint8")
    made = {way: graph(way, frames) for way in WAYS}
    loops = {way: sum(name in ("While", "StatelessWhile") for name in names) for way, (names, _) in made.items()}
    by_xla = {way: sum(attributes["_XlaMustCompile"].b for attributes in of) for way, (_, of) in made.items()}
    assert loops[COMPILED] and loops[LOOPED] and not loops[WRITTEN_OUT]
    assert by_xla[COMPILED] and not by_xla[LOOPED] and not by_xla[WRITTEN_OUT]


def test_the_way_ends_with_its_block_whatever_happens():
    frames = moving((1.0, 0.0), count=3)[None].astype("uint8")
    with pytest.raises(KeyError), iterations(LOOPED), iterations(WRITTEN_OUT):
        raise KeyError
    assert any(attributes["_XlaMustCompile"].b for attributes in graph(COMPILED, frames)[1])


def test_gradients_are_the_same_eagerly_and_in_a_graph():
    frames = moving((1.0, -0.5), count=2)[None].astype("float32")
    layer = TVL1Flow(levels=1, iterations=3)
    layer(frames)

    def gradients(frames):
        with tf.GradientTape() as tape:
            tape.watch(frames)
            loss = tf.reduce_mean(tf.square(layer(frames) - 1.0))
        return [tape.gradient(loss, frames)]

    with iterations(WRITTEN_OUT):
        wanted = tf.function(gradients)(tf.constant(frames))
    for function in (gradients, tf.function(gradients)):
        for found, theirs in zip(function(tf.constant(frames)), wanted, strict=True):
            np.testing.assert_allclose(found, theirs, rtol=1e-2, atol=1e-3 * np.abs(theirs).max())
    assert all(np.abs(theirs).max() > 0 for theirs in wanted)


@pytest.mark.parametrize("way", WAYS)
def test_repeat(way):
    @compiled
    def fibonacci(first, second, times):
        return repeat(lambda a, b: (b, a + b), times, (first, second))

    with iterations(way):
        for times, wanted in ((0, (1, 1)), (1, (1, 2)), (10, (89, 144))):
            assert tuple(int(number) for number in fibonacci(tf.constant(1), tf.constant(1), times)) == wanted


def test_what_is_compiled_serves_other_sizes_and_numbers():
    @compiled
    def scaled(images, factor):
        return images * factor

    for size, factor in ((3, 2.0), (3, 4.0), (5, 2.0)):
        np.testing.assert_array_equal(scaled(tf.ones(size), factor), np.full(size, factor))
    np.testing.assert_array_equal(scaled(np.ones(3, "int32"), 2), np.full(3, 2))


def test_replicas_share_what_is_compiled(two_replicas):
    frames = np.stack([moving((1.0, -0.5), count=2), moving((-2.0, 0.5), count=2, seed=3)]).astype("float32")
    with two_replicas.scope():
        layer = TVL1Flow(levels=1, iterations=3)
        layer(frames[:1])

    def step():
        own = tf.constant(frames)[tf.distribute.get_replica_context().replica_id_in_sync_group][None]
        with tf.GradientTape() as tape:
            tape.watch(own)
            flow = layer(own)
            loss = tf.reduce_mean(tf.square(flow - 1.0))
        return flow, tape.gradient(loss, own)

    flows, gradients = tf.function(lambda: two_replicas.run(step))()
    wanted = layer(frames)
    for number, (flow, gradient) in enumerate(zip(flows.values, gradients.values, strict=True)):
        np.testing.assert_allclose(flow[0], wanted[number], atol=1e-4)
        assert np.abs(gradient).max() > 0


def test_where_xla_does_not_work_flow_is_computed_without(monkeypatch, caplog):
    frames = moving((1.0, 0.0), count=3)[None].astype("uint8")
    wanted, function = small()(frames), tf.function

    def broken(computed, jit_compile=False, **arguments):
        if jit_compile:
            raise tf.errors.InternalError(None, None, "libdevice not found")
        return function(computed, **arguments)

    iterating.xla_works.cache_clear()
    monkeypatch.setattr(tf, "function", broken)
    try:
        np.testing.assert_allclose(small()(frames), wanted, atol=1e-4)
        assert "XLA does not work here (libdevice not found)" in caplog.text
        assert not any(attributes["_XlaMustCompile"].b for attributes in graph(COMPILED, frames)[1])
    finally:
        iterating.xla_works.cache_clear()
