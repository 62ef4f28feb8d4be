"""Connections that mix the streams position by position."""

from __future__ import annotations

from keras import ops

from ccsn_tf.models.connections.block import ConnectionBlock


class SumConnection(ConnectionBlock):
    """Adds a 1x1 convolution of the other stream (after Feichtenhofer et al., Spatiotemporal Residual Networks, 2016).

    There motion is added to appearance only; here both directions are joined, as METHOD asks of every block.
    """

    def build_messages(self, shape):
        self.projections = [self.pointwise(shape, shape[-1], f"to_{side}") for side in ("spatial", "temporal")]

    def messages(self, spatial, temporal):
        to_spatial, to_temporal = self.projections
        return to_spatial(temporal), to_temporal(spatial)


class ProductConnection(SumConnection):
    """Gates each stream by a 1x1 convolution of the other (after Feichtenhofer et al., Multiplier Networks, 2017)."""

    def messages(self, spatial, temporal):
        to_spatial, to_temporal = super().messages(spatial, temporal)
        return spatial * to_spatial, temporal * to_temporal


class ConcatConnection(ConnectionBlock):
    """Concatenates the streams, then a 1x1 convolution that starts as their sum.

    After Feichtenhofer et al., Convolutional Two-Stream Network Fusion, CVPR 2016. The residual around it, with BN_0's
    scale of zero, is ours.
    """

    def build_messages(self, shape):
        channels = shape[-1]
        both = (*shape[:-1], 2 * channels)
        self.projections = [
            self.pointwise(both, channels, f"to_{side}", kernel_initializer=_stacked_identity)
            for side in ("spatial", "temporal")
        ]

    def messages(self, spatial, temporal):
        both = ops.concatenate([spatial, temporal], axis=-1)
        to_spatial, to_temporal = self.projections
        return to_spatial(both), to_temporal(both)


def _stacked_identity(shape, dtype=None):
    return ops.concatenate([ops.eye(shape[1], dtype=dtype)] * 2, axis=0)
