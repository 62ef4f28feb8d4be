"""Connections in which each position of one stream gathers from all positions of the other."""

from __future__ import annotations

import math

from keras import ops

from ccsn_tf.models.connections.block import ConnectionBlock
from ccsn_tf.models.connections.position import POSITION_BIASES


class AttentionBlock(ConnectionBlock):
    """Heads, their width (C/2 over all heads), and the layout changes between maps and heads."""

    def __init__(self, heads=4, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads

    def build_messages(self, shape):
        self.width = max(self.heads, shape[-1] // 2 // self.heads * self.heads)

    def projection(self, shape, name):
        return self.pointwise(shape, self.width, name)

    def split(self, projected):
        """(N, ..., D) -> (N, heads, positions, D / heads)."""
        batch = ops.shape(projected)[0]
        flat = ops.reshape(projected, (batch, -1, self.heads, self.width // self.heads))
        return ops.transpose(flat, (0, 2, 1, 3))

    def merge(self, attended, like):
        """(N, heads, positions, D / heads) -> (N, ..., D), with the position axes of `like`."""
        flat = ops.transpose(attended, (0, 2, 1, 3))
        return ops.reshape(flat, (*ops.shape(like)[:-1], self.width))

    def logits(self, queries, keys):
        """Scaled dot products, float32 (N, heads, positions, positions)."""
        scaled = queries / math.sqrt(self.width // self.heads)  # first: float16 could not hold the products
        return ops.cast(ops.matmul(scaled, ops.transpose(keys, (0, 1, 3, 2))), "float32")

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
        """The values weighted by the softmax over the other stream's positions (float32 softmax)."""
        return ops.matmul(ops.cast(ops.softmax(logits, axis=-1), values.dtype), values)

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
        self.to_spatial, self.to_temporal = self._side(shape, "spatial"), self._side(shape, "temporal")

    def _side(self, shape, side):
        layers = {name: self.projection(shape, f"{side}_{name}") for name in ("query", "key", "value")}
        layers["output"] = self.pointwise((*shape[:-1], self.width), shape[-1], f"{side}_output")
        bias = POSITION_BIASES[self.position]
        if bias:
            layers["bias"] = bias(self.heads, name=f"{side}_bias")
            layers["bias"].build()
        return layers

    def affinities(self, spatial, temporal):
        return self._affinity(self.to_spatial, spatial, temporal), self._affinity(self.to_temporal, temporal, spatial)

    def messages(self, spatial, temporal):
        to_spatial, to_temporal = self.affinities(spatial, temporal)
        return (
            self._message(self.to_spatial, to_spatial, spatial, temporal),
            self._message(self.to_temporal, to_temporal, temporal, spatial),
        )

    def _affinity(self, layers, own, other):
        logits = self.logits(self.split(layers["query"](own)), self.split(layers["key"](other)))
        if "bias" not in layers:
            return logits
        height, width = own.shape[-3:-1]
        bias = layers["bias"](height=height, width=width)
        if len(own.shape) == 5:  # a clip's segments see one another: the bias repeats over pairs of segments
            segments = ops.shape(own)[1]
            bias = ops.tile(bias, (1, segments, segments))
        return logits + bias

    def _message(self, layers, logits, own, other):
        gathered = self.gather(logits, self.split(layers["value"](other)))
        return layers["output"](self.merge(gathered, own))

    def get_config(self):
        return {**super().get_config(), "position": self.position}


class SharedAffinityConnection(AttentionBlock):
    """One affinity theta(S) phi(M)^T / sqrt(d) serves both directions, the second time transposed.

    After cross-correlation fusion networks; no position bias. Arguments, call and returns: see `CrossAttention`.
    """

    def build_messages(self, shape):
        super().build_messages(shape)
        self.theta, self.phi = self.projection(shape, "theta"), self.projection(shape, "phi")
        self.values = [self.projection(shape, f"{side}_value") for side in ("spatial", "temporal")]
        inner = (*shape[:-1], self.width)
        self.outputs = [self.pointwise(inner, shape[-1], f"{side}_output") for side in ("spatial", "temporal")]

    def affinities(self, spatial, temporal):
        logits = self.logits(self.split(self.theta(spatial)), self.split(self.phi(temporal)))
        return logits, ops.transpose(logits, (0, 1, 3, 2))

    def messages(self, spatial, temporal):
        to_spatial, to_temporal = self.affinities(spatial, temporal)
        from_temporal = self.gather(to_spatial, self.split(self.values[0](temporal)))
        from_spatial = self.gather(to_temporal, self.split(self.values[1](spatial)))
        return self.outputs[0](self.merge(from_temporal, spatial)), self.outputs[1](self.merge(from_spatial, temporal))
