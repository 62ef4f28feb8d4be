"""Optical flow as layers: frames in, fields out, differentiable, on every Keras backend."""

from ccsn_tf.models.flow.tvl1_flow import QuantizedFlow, TVL1Flow

__all__ = ["QuantizedFlow", "TVL1Flow"]
