"""What is asked of every layer (`run_layer_test`), and small helpers for tests of layers."""

import contextlib
import json
import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops

# Largest error of a compute dtype, relative to the largest output.
POLICIES = {"float32": 0.0, "mixed_bfloat16": 5e-2, "mixed_float16": 1e-2}


@contextlib.contextmanager
def dtype_policy(name):
    """Sets Keras's global dtype policy, and afterwards the one before."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def arrays(outputs):
    """The tensors of any structure as a flat list of NumPy arrays."""
    return [ops.convert_to_numpy(tensor) for tensor in keras.tree.flatten(outputs)]


def features(*shape, seed=0):
    """Random float32 features."""
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def randomise(layer, seed=1):
    """Random weights everywhere, batch normalisation's too: initial ones hide exchanged or forgotten weights."""
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif np.issubdtype(np.dtype(weight.dtype), np.floating):
            weight.assign(rng.normal(0.0, 0.3, weight.shape))


def randomise_in_scale(model, seed=0):
    """Random weights everywhere, of a size that keeps activations in bounds through many layers."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif weight.name == "kernel":
            weight.assign(rng.normal(0.0, (2 / math.prod(weight.shape[:-1])) ** 0.5, weight.shape))
        elif weight.name in ("beta", "moving_mean", "bias"):
            weight.assign(rng.normal(0.0, 0.2, weight.shape))


def weights_by_name(layer):
    """{path below the layer: array}."""
    return {weight.path.split("/", 1)[1]: ops.convert_to_numpy(weight) for weight in layer.weights}


def num_parameters(weights):
    """How many numbers the weights hold."""
    return sum(math.prod(weight.shape) for weight in weights)


def run_layer_test(layer_class, arguments, inputs, still=(), output_dtype=None):
    """Serialisation, symbolic against eager output, dtype policies, and one step of training.

    Args:
        layer_class, arguments: the layer.
        inputs: array, or list of arrays, that it is called with.
        still: ends of the paths of those trainable weights whose gradient is zero by construction; every other one
            must move.
        output_dtype: of the outputs; by default the policy's compute dtype.
    """
    layer = layer_class(**arguments, name="tested")
    layer(inputs)
    randomise(layer)
    expected = arrays(layer(inputs))
    assert all(np.isfinite(array).all() and np.ptp(array) > 0 for array in expected)
    _check_symbolic(layer, inputs, expected)
    for policy, tolerance in POLICIES.items():
        with dtype_policy(policy):
            typed = layer_class(**arguments, name="tested")
            typed(inputs)
        typed.set_weights(layer.get_weights())
        outputs = arrays(typed(inputs))
        assert {str(array.dtype) for array in outputs} == {output_dtype or typed.compute_dtype}
        for ours, theirs in zip(outputs, expected, strict=True):
            error = np.abs(ours.astype("float32") - theirs).max()
            assert error <= tolerance * np.abs(theirs).max(), policy
        if policy != "mixed_float16":
            _check_serialisation(typed, inputs, outputs)  # with a policy of its own, whatever the global one is
        if layer.trainable_weights:
            _check_training(typed, inputs, still if policy == "float32" else None)


def _check_serialisation(layer, inputs, expected):
    config = _plain(keras.saving.serialize_keras_object(layer))
    twin = keras.saving.deserialize_keras_object(config)
    assert type(twin) is type(layer)
    assert _plain(keras.saving.serialize_keras_object(twin)) == config
    twin(inputs)
    assert [(w.path, w.shape, w.dtype) for w in twin.weights] == [(w.path, w.shape, w.dtype) for w in layer.weights]
    assert {str(part.dtype_policy.name) for part in twin._flatten_layers()} <= {layer.dtype_policy.name, "float32"}
    twin.set_weights(layer.get_weights())
    _equal(arrays(twin(inputs)), expected)


def _check_symbolic(layer, inputs, expected):
    images = keras.tree.map_structure(lambda x: keras.Input(x.shape[1:], dtype=str(x.dtype)), inputs)
    model = keras.Model(images, layer(images))
    symbolic = keras.tree.flatten(model.outputs)
    assert [tensor.dtype for tensor in symbolic] == [str(array.dtype) for array in expected]
    for tensor, array in zip(symbolic, expected, strict=True):
        sizes = [size if known is None else known for known, size in zip(tensor.shape, array.shape, strict=True)]
        assert tuple(sizes) == array.shape
    signature = keras.tree.map_structure(lambda x: tf.TensorSpec((None, *x.shape[1:]), x.dtype), inputs)
    graph = tf.function(lambda x: model(x), input_signature=[signature])
    for ours, theirs in zip(arrays(graph(inputs)), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def _check_training(layer, inputs, still):
    """`still` is None where rounding blurs what is zero."""
    variables = layer.trainable_variables
    with tf.GradientTape() as tape:
        outputs = keras.tree.flatten(layer(inputs, training=True))
        loss = sum(
            ops.sum(ops.cast(output, "float32") * features(*output.shape, seed=5 + i))
            for i, output in enumerate(outputs)
        )
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    assert all(np.isfinite(ops.convert_to_numpy(gradient)).all() for gradient in gradients)
    before = [ops.convert_to_numpy(variable) for variable in variables]
    keras.optimizers.SGD(1.0).apply(gradients, variables)
    moves = [np.abs(ops.convert_to_numpy(v) - b).max() for v, b in zip(variables, before, strict=True)]
    assert {variable.dtype for variable in variables} == {"float32"}
    if still is not None:
        least = 1e-4 * max(moves)
        unmoved = {variable.path for variable, move in zip(variables, moves, strict=True) if move < least}
        assert unmoved == {variable.path for variable in variables if variable.path.endswith(tuple(still))}


def _plain(config):
    return json.loads(json.dumps(config))


def _equal(ours, theirs):
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.dtype == other.dtype
        np.testing.assert_array_equal(mine, other)
