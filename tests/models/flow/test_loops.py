"""Three ways of running iterations, which compute the same."""

import numpy as np
import pytest
import tensorflow as tf
from moving_frames import moving

from ccsn_tf.models.flow import TVL1Flow, loops
from ccsn_tf.models.flow.loops import COMPILED, LOOPED, WRITTEN_OUT, compiled, iterations, repeat

WAYS = (COMPILED, LOOPED, WRITTEN_OUT)


FRAMES = np.stack([moving((1.0, -0.5), 12, 16, 3), moving((-2.0, 0.5), 12, 16, 3, seed=3)])


def small(**arguments):
    return TVL1Flow(levels=1, warps=1, iterations=3, **arguments)


def graph(way):
    """How many loops, and functions of XLA's, the flow's graph has."""
    with iterations(way):
        made = tf.function(small()).get_concrete_function(tf.TensorSpec((None, *FRAMES.shape[1:]), tf.uint8))
    definition = made.graph.as_graph_def()
    functions = definition.library.function
    nodes = [*definition.node, *(node for function in functions for node in function.node_def)]
    loops = sum(node.op in ("While", "StatelessWhile") for node in nodes)
    return loops, sum(function.attr["_XlaMustCompile"].b for function in functions)


def test_flow_is_the_same():
    wanted = np.asarray(small()(FRAMES))
    for way in (LOOPED, WRITTEN_OUT):
        with iterations(way):
            np.testing.assert_allclose(small()(FRAMES), wanted, atol=1e-4)
    assert np.abs(wanted).max() > 0.5


def test_a_graph_is_made_in_the_way_that_is_asked_for_until_its_block_ends():
    with pytest.raises(KeyError), iterations(LOOPED), iterations(WRITTEN_OUT):
        raise KeyError
    loops, by_xla = zip(*(graph(way) for way in WAYS), strict=True)
    assert loops[0] and loops[1] and not loops[2]
    assert by_xla[0] and not by_xla[1] and not by_xla[2]


def test_gradients_of_the_flow_are_the_same():
    frames = tf.constant(FRAMES[:1, :2].astype("float32"))

    def gradient():
        with tf.GradientTape() as tape:
            tape.watch(frames)
            loss = tf.reduce_mean(tf.square(small(median=0, smooth=False)(frames) - 1.0))
        return np.asarray(tape.gradient(loss, frames))

    with iterations(LOOPED):
        wanted = gradient()
    np.testing.assert_allclose(gradient(), wanted, rtol=1e-2, atol=1e-3 * np.abs(wanted).max())
    assert np.abs(wanted).max() > 0


def test_replicas_share_what_is_compiled_and_its_gradients(two_replicas):
    @compiled
    def spiral(x, times):
        return repeat(lambda a, b: (tf.sin(b) - a, a * b), times, (x, 1.0 - x))[0]

    def value_and_gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = spiral(x, 3)
        return value, tape.gradient(value, x)

    x = tf.constant([[0.2, 0.5], [0.7, -0.4]])

    def step():
        return value_and_gradient(x[tf.distribute.get_replica_context().replica_id_in_sync_group])

    found = tf.function(lambda: two_replicas.run(step))()
    with iterations(WRITTEN_OUT):
        wanted = [value_and_gradient(part) for part in x]
    for number, expected in enumerate(wanted):
        for ours, eager, theirs in zip(found, value_and_gradient(x[number]), expected, strict=True):
            np.testing.assert_allclose(ours.values[number], theirs, rtol=1e-5)
            np.testing.assert_allclose(eager, theirs, rtol=1e-5)


def test_where_xla_does_not_work_flow_is_computed_without(monkeypatch, caplog):
    wanted, function = small()(FRAMES), tf.function

    def broken(computed, jit_compile=False, **arguments):
        if jit_compile:
            raise tf.errors.InternalError(None, None, "libdevice not found")
        return function(computed, **arguments)

    loops.xla_works.cache_clear()
    monkeypatch.setattr(tf, "function", broken)
    try:
        np.testing.assert_allclose(small()(FRAMES), wanted, atol=1e-4)
        assert "XLA does not work here (libdevice not found)" in caplog.text
        assert not graph(COMPILED)[1]
    finally:
        loops.xla_works.cache_clear()
