"""Connections in which each position of a stream gathers from all of the other's, and their position biases."""

import math

import keras
import numpy as np
from keras import ops

from ccsn_tf.config.settings import STREAMS
from ccsn_tf.models.connections.block import ConnectionBlock

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


class AttentionBlock(ConnectionBlock):
    """Heads, their width (C/2 over all heads), and the layout changes between maps and heads."""

    def __init__(self, heads=4, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads

    def build_messages(self, shape):
        self.width = max(self.heads, shape[-1] // 2 // self.heads * self.heads)

    def inward(self, shape, name):
        return self.pointwise(shape, self.width, name)

    def outward(self, shape, name):
        return self.pointwise((*shape[:-1], self.width), shape[-1], name)

    def split(self, projected):
        """(N, ..., D) -> (N, heads, positions, D / heads)."""
        flat = ops.reshape(projected, (ops.shape(projected)[0], -1, self.heads, self.width // self.heads))
        return ops.transpose(flat, (0, 2, 1, 3))

    def logits(self, queries, keys):
        """Scaled dot products of projections (N, ..., D), float32 (N, heads, positions, positions)."""
        scaled = self.split(queries) / math.sqrt(self.width // self.heads)  # first: float16 could not hold the products
        return ops.cast(ops.matmul(scaled, ops.transpose(self.split(keys), (0, 1, 3, 2))), "float32")

    def affinities(self, spatial, temporal):
        """The logits (of the spatial stream's positions to the temporal's, the reverse)."""
        raise NotImplementedError

    def attention_maps(self, inputs):
        """Where each stream looks in the other, for maps [spatial, temporal] as in a call.

        Returns:
            Two float32 (N, heads, positions, positions): how the spatial stream's positions (rows) weigh the temporal
            stream's, and the reverse. Each row adds up to one.
        """
        return tuple(ops.softmax(logits, axis=-1) for logits in self.affinities(*inputs))

    def gather(self, logits, values):
        """Values (N, ..., D), weighted by the softmax (float32) over their positions: likewise (N, ..., D)."""
        weights = ops.cast(ops.softmax(logits, axis=-1), values.dtype)
        gathered = ops.transpose(ops.matmul(weights, self.split(values)), (0, 2, 1, 3))
        return ops.reshape(gathered, ops.shape(values))

    def get_config(self):
        return {**super().get_config(), "heads": self.heads}


class CrossAttention(AttentionBlock):
    """Two-way cross-stream attention with a position bias (METHOD, Connection block):

        A = softmax(theta(S) phi(M)^T / sqrt(d) + b(dy, dx)),    S' = S + BN_0(W (A g(M)))

    and the reverse for the temporal stream, with weights of its own. Without the bias (`position="none"`) this is the
    non-local block of Wang et al. (CVPR 2018) across streams, which cannot tell that a motion belongs to the object at
    the same place.

    Args:
        heads: attention heads; the inner width is C/2 over all of them.
        position: "distance" (a learned width per head), "mlp" (free form) or "none".

    Call arguments, returns: see `ConnectionBlock`. Over a clip (N, K, H, W, C) the bias depends on the place alone.
    """

    def __init__(self, heads=4, position="distance", **kwargs):
        super().__init__(heads, **kwargs)
        if position not in POSITION_BIASES:
            raise ValueError(f"position must be one of {', '.join(POSITION_BIASES)}. Received: position={position!r}")
        self.position = position

    def build_messages(self, shape):
        super().build_messages(shape)
        self.to_spatial, self.to_temporal = (self._side(shape, side) for side in STREAMS)

    def _side(self, shape, side):
        layers = {name: self.inward(shape, f"{side}_{name}") for name in ("query", "key", "value")}
        layers["output"] = self.outward(shape, f"{side}_output")
        bias = POSITION_BIASES[self.position]
        if bias:
            layers["bias"] = bias(self.heads, name=f"{side}_bias")
            layers["bias"].build()
        return layers

    def affinities(self, spatial, temporal):
        return self._affinity(self.to_spatial, spatial, temporal), self._affinity(self.to_temporal, temporal, spatial)

    def messages(self, spatial, temporal):
        sides = zip((self.to_spatial, self.to_temporal), self.affinities(spatial, temporal), strict=True)
        return tuple(
            layers["output"](self.gather(logits, layers["value"](other)))
            for (layers, logits), other in zip(sides, (temporal, spatial), strict=True)
        )

    def _affinity(self, layers, own, other):
        logits = self.logits(layers["query"](own), layers["key"](other))
        if "bias" not in layers:
            return logits
        height, width = own.shape[-3:-1]
        bias = layers["bias"](height=height, width=width)
        if len(own.shape) == 5:  # a clip's segments see one another: the bias repeats over pairs of segments
            segments = ops.shape(own)[1]
            bias = ops.tile(bias, (1, segments, segments))
        return logits + bias

    def get_config(self):
        return {**super().get_config(), "position": self.position}


class SharedAffinityConnection(AttentionBlock):
    """One affinity theta(S) phi(M)^T / sqrt(d) serves both directions, the second time transposed.

    After cross-correlation fusion networks; no position bias. Arguments, call and returns: see `CrossAttention`.
    """

    def build_messages(self, shape):
        super().build_messages(shape)
        self.theta, self.phi = self.inward(shape, "theta"), self.inward(shape, "phi")
        self.values = [self.inward(shape, f"{side}_value") for side in STREAMS]
        self.outputs = [self.outward(shape, f"{side}_output") for side in STREAMS]

    def affinities(self, spatial, temporal):
        logits = self.logits(self.theta(spatial), self.phi(temporal))
        return logits, ops.transpose(logits, (0, 1, 3, 2))

    def messages(self, spatial, temporal):
        affinities = self.affinities(spatial, temporal)
        sides = zip(self.values, self.outputs, affinities, (temporal, spatial), strict=True)
        return tuple(output(self.gather(logits, value(other))) for value, output, logits, other in sides)
