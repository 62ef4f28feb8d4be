"""Flow in pixels to the 8-bit form in which records hold it, inside the graph."""

from __future__ import annotations

import keras
from keras import ops


@keras.saving.register_keras_serializable("ccsn_tf")
class QuantizedFlow(keras.layers.Layer):
    """round(255 (clip(s v, -b, b) + b) / (2 b)) of a flow v in pixels: float32, whole numbers from 0 to 255.

    The values are those that records would hold. The gradient passes the rounding as if it were not there.

    Args:
        bound: b, in pixels of the stored size.
        scale: s, pixels of the stored size in one of the field.
    """

    def __init__(self, bound, scale=1.0, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.bound, self.scale = bound, scale

    def call(self, flow):
        pixels = ops.clip(self.scale * ops.cast(flow, "float32"), -self.bound, self.bound)
        values = (pixels + self.bound) * (255.0 / (2.0 * self.bound))
        return values + ops.stop_gradient(ops.round(values) - values)

    def compute_output_spec(self, flow):
        return keras.KerasTensor(flow.shape, dtype="float32")

    def get_config(self):
        config = {**super().get_config(), "bound": self.bound, "scale": self.scale}
        config.pop("autocast", None)
        return config
