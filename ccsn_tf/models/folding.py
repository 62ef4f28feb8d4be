"""Inference without BatchNormalization: its scale and shift become part of the convolution before it.

At inference a normalisation is x -> gamma (x - mean) / sqrt(variance + epsilon) + beta with constants, a linear map a
channel: applied to a convolution's output it is the same convolution with scaled filters and another bias. Exact but
for rounding (the products are formed in float64 and stored in float32).
"""

import collections

import keras
import numpy as np
from keras import layers

# Layers whose last kernel axis, or last two, are the output channels.
_CONVOLUTIONS = (layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.Dense, layers.DepthwiseConv2D)


def fold_batch_norms(model: keras.Model) -> keras.Model:
    """A functional model that computes what `model` computes at inference, with fewer layers.

    Folded is a normalisation of the last axis whose input comes from a linear convolution (or Dense layer) that
    nothing else reads. Other layers are shared with `model`, which stays as it is; train neither while the other is in
    use.

    Args:
        model: functional, of functional models and layers.

    Returns:
        The new model, with the inputs and outputs of `model`.
    """
    pairs = _foldable(model)
    replacements = {
        id(convolution): type(convolution).from_config({**convolution.get_config(), "use_bias": True})
        for convolution, _ in pairs
    }
    removed = {id(norm) for _, norm in pairs}

    def clone(layer):
        return fold_batch_norms(layer) if isinstance(layer, keras.Model) else replacements.get(id(layer), layer)

    result = keras.models.clone_model(
        model,
        clone_function=clone,
        call_function=lambda layer, *args, **kwargs: args[0] if id(layer) in removed else layer(*args, **kwargs),
    )
    for convolution, norm in pairs:
        replacements[id(convolution)].set_weights(_folded_weights(convolution, norm))
    return result


def _foldable(model):
    """Pairs (convolution, normalisation) of one graph level."""
    calls = []

    def record(layer, *args, **kwargs):
        outputs = layer(*args, **kwargs)
        calls.append((layer, keras.tree.flatten((args, kwargs)), keras.tree.flatten(outputs)))
        return outputs

    traced = keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=record)
    times = collections.Counter(id(layer) for layer, _, _ in calls)
    readers = collections.Counter(id(tensor) for _, tensors, _ in calls for tensor in tensors)
    readers.update(id(tensor) for tensor in traced.outputs)
    producer = {id(tensor): layer for layer, _, tensors in calls for tensor in tensors}
    pairs = []
    for norm, inputs, _ in calls:
        if isinstance(norm, layers.BatchNormalization):
            source = producer.get(id(inputs[0]))
            read_once = readers[id(inputs[0])] == times[id(source)] == times[id(norm)] == 1
            if read_once and _is_linear_convolution(source) and norm.axis in (-1, len(inputs[0].shape) - 1):
                pairs.append((source, norm))
    return pairs


def _is_linear_convolution(layer):
    return (
        type(layer) in _CONVOLUTIONS
        and layer.activation is keras.activations.linear
        and getattr(layer, "data_format", "channels_last") == "channels_last"
    )


def _folded_weights(convolution, norm):
    """[kernel, bias] of the convolution with the normalisation in it, float32."""
    mean, variance = (np.asarray(w, np.float64) for w in (norm.moving_mean, norm.moving_variance))
    scale = 1.0 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        scale = scale * np.asarray(norm.gamma, np.float64)
    shift = np.asarray(norm.beta, np.float64) if norm.center else 0.0
    kernel = np.asarray(convolution.kernel, np.float64)
    bias = np.asarray(convolution.bias, np.float64) if convolution.use_bias else 0.0
    if isinstance(convolution, layers.DepthwiseConv2D):  # (h, w, channels, multiplier): the last two are the outputs
        kernel = kernel * scale.reshape(kernel.shape[-2:])
    else:
        kernel = kernel * scale
    return [kernel.astype(np.float32), ((bias - mean) * scale + shift).astype(np.float32)]
