"""Layers that normalise pixels and move between clips of segments and plain batches of images."""

from __future__ import annotations

import keras
from keras import ops

from ccsn_tf.models.backbones.backbone import Normalization


@keras.saving.register_keras_serializable("ccsn_tf")
class InputNormalization(keras.layers.Layer):
    """uint8 (B, K, H, W, C) to (B*K, H, W, C) in the compute dtype, scaled as the backbone expects.

    Args:
        mean, scale, reverse_channels: see `Normalization`.
    """

    def __init__(self, mean, scale, reverse_channels=False, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.mean, self.scale, self.reverse_channels = mean, scale, reverse_channels

    def call(self, clips):
        tuples = [tuple(v) if isinstance(v, list) else v for v in (self.mean, self.scale)]  # JSON has lists only
        images = ops.reshape(clips, (-1, *clips.shape[2:]))
        return ops.cast(Normalization(*tuples, self.reverse_channels).apply(images), self.compute_dtype)

    def compute_output_shape(self, shape):
        return (None, *shape[2:])

    def compute_output_spec(self, clips):
        return keras.KerasTensor(self.compute_output_shape(clips.shape), dtype=self.compute_dtype)

    def get_config(self):
        own = {"mean": self.mean, "scale": self.scale, "reverse_channels": self.reverse_channels}
        config = {**super().get_config(), **own}
        config.pop("autocast", None)
        return config


@keras.saving.register_keras_serializable("ccsn_tf")
class UnfoldSegments(keras.layers.Layer):
    """(B*K, ...) back to (B, K, ...); B and K are those of the second input, whose values are not used."""

    def call(self, inputs):
        folded, clips = inputs
        return ops.reshape(folded, (-1, ops.shape(clips)[1], *folded.shape[1:]))

    def compute_output_shape(self, input_shape):
        folded, clips = input_shape
        return (clips[0], clips[1], *folded[1:])

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(self.compute_output_shape([x.shape for x in inputs]), dtype=inputs[0].dtype)


@keras.saving.register_keras_serializable("ccsn_tf")
class FoldSegments(keras.layers.Layer):
    """(B, K, ...) to (B*K, ...)."""

    def call(self, unfolded):
        return ops.reshape(unfolded, (-1, *unfolded.shape[2:]))

    def compute_output_shape(self, shape):
        return (None, *shape[2:])


@keras.saving.register_keras_serializable("ccsn_tf")
class BlankImages(keras.layers.Layer):
    """For clips (B, K, ...) of anything, black images (B, K, *shape), uint8: a stand-in where only B and K matter."""

    def __init__(self, shape, **kwargs):
        super().__init__(**kwargs)
        self.shape = tuple(shape)

    def call(self, clips):
        return ops.zeros((*ops.shape(clips)[:2], *self.shape), dtype="uint8")

    def compute_output_spec(self, clips):
        return keras.KerasTensor((*clips.shape[:2], *self.shape), dtype="uint8")

    def get_config(self):
        return {**super().get_config(), "shape": self.shape}


@keras.saving.register_keras_serializable("ccsn_tf")
class MiddleFrame(keras.layers.Layer):
    """Of snippets (B, K, L + 1, H, W, 3), the frame that the spatial stream sees, L // 2: (B, K, H, W, 3)."""

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)

    def call(self, snippets):
        return snippets[:, :, (snippets.shape[2] - 1) // 2]

    def compute_output_spec(self, snippets):
        shape = snippets.shape
        return keras.KerasTensor((*shape[:2], *shape[3:]), dtype=snippets.dtype)

    def get_config(self):
        config = super().get_config()
        config.pop("autocast", None)
        return config


@keras.saving.register_keras_serializable("ccsn_tf")
class WeightedSum(keras.layers.Layer):
    """Sum of its inputs, each times its weight.

    Args:
        weights: floats, one an input.
    """

    def __init__(self, weights, **kwargs):
        super().__init__(**kwargs)
        self.weights_of_inputs = tuple(weights)

    def call(self, inputs):
        return sum(weight * x for weight, x in zip(self.weights_of_inputs, inputs, strict=True))

    def get_config(self):
        return {**super().get_config(), "weights": self.weights_of_inputs}
