"""Position biases of attention: functions of the offset, so that they fit maps of every size."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

# Offsets are measured in eighths of the frame's side: cells of an 8x8 map, whatever the map's size is.
_UNITS_PER_SIDE = 8.0


def offsets(height, width):
    """Offsets between all positions of a map, float32 (H*W, H*W, 2): dy, dx in eighths of the frame's side."""
    rows = (ops.arange(height, dtype="float32") + 0.5) * (_UNITS_PER_SIDE / height)
    columns = (ops.arange(width, dtype="float32") + 0.5) * (_UNITS_PER_SIDE / width)
    grid = ops.stack(ops.meshgrid(rows, columns, indexing="ij"), axis=-1)
    flat = ops.reshape(grid, (height * width, 2))
    return flat[:, None, :] - flat[None, :, :]


@keras.saving.register_keras_serializable("ccsn_tf")
class DistanceBias(keras.layers.Layer):
    """b = -softplus(w_h) * squared offset: each head sees a Gaussian window, of a learned width.

    The widths start in a geometric series from local (a standard deviation of half a unit) to nearly flat (8 units,
    the frame's side).

    Args:
        heads: number of heads.

    Call arguments:
        height, width: of the map.

    Returns:
        float32 (heads, H*W, H*W), to be added to the attention's logits.
    """

    def __init__(self, heads, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads

    def build(self, _=None):
        deviations = np.geomspace(0.5, _UNITS_PER_SIDE, self.heads)
        precisions = 1.0 / (2.0 * deviations**2)
        start = np.log(np.expm1(precisions))  # the inverse of softplus
        self.width = self.add_weight(
            shape=(self.heads,),
            initializer=lambda shape, dtype=None: ops.cast(start, dtype),
            dtype="float32",
            autocast=False,  # mixed precision would round the widths before they are used in float32
            name="width",
        )

    def call(self, height, width):
        squared = ops.sum(ops.square(offsets(height, width)), axis=-1)
        return -ops.softplus(self.width)[:, None, None] * squared

    def get_config(self):
        return {**super().get_config(), "heads": self.heads}


@keras.saving.register_keras_serializable("ccsn_tf")
class MLPBias(keras.layers.Layer):
    """b = MLP(sign(o) log(1 + |o|)) of the offset o.

    The idea is that of the log-spaced bias of Liu et al., Swin Transformer V2, CVPR 2022. Not bound to be symmetric
    or to fall with distance; starts at zero. Arguments as `DistanceBias`.
    """

    def __init__(self, heads, hidden=32, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.hidden = heads, hidden

    def build(self, _=None):
        self.inner = keras.layers.Dense(self.hidden, activation="relu", dtype="float32", name="inner")
        self.outer = keras.layers.Dense(self.heads, kernel_initializer="zeros", dtype="float32", name="outer")
        self.inner.build((None, 2))
        self.outer.build((None, self.hidden))

    def call(self, height, width):
        difference = offsets(height, width)
        spaced = ops.sign(difference) * ops.log1p(ops.abs(difference))
        return ops.transpose(self.outer(self.inner(spaced)), (2, 0, 1))

    def get_config(self):
        return {**super().get_config(), "heads": self.heads, "hidden": self.hidden}


POSITION_BIASES = {"distance": DistanceBias, "mlp": MLPBias, "none": None}
