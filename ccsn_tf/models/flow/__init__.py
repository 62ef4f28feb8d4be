"""Optical flow as layers: frames in, fields out, differentiable, on every Keras backend."""

from ccsn_tf.models.flow.lucas_kanade_flow import LucasKanadeFlow
from ccsn_tf.models.flow.quantized_flow import QuantizedFlow
from ccsn_tf.models.flow.tvl1_flow import TVL1Flow

__all__ = ["LucasKanadeFlow", "QuantizedFlow", "TVL1Flow"]
