"""A connection block of your own: each stream receives the other, weighted by a gate that sees both.

In Python:          model = ct.CCSN(classes=10, connection=Gated)
On the command line: python scripts/train.py --plugins=examples/own_connection.py --connection=gated ...
"""

import ccsn_tf as ct


class Gated(ct.ConnectionBlock):
    """Messages g * W M and g * W S, with the gate g = sigmoid(V (S + M)) per position and channel.

    Args:
        sharpness: float, what the gate's input is multiplied by. Arguments of a block are returned from `get_config`,
            so that models with it can be saved.
    """

    def __init__(self, sharpness=1.0, **kwargs):
        super().__init__(**kwargs)
        self.sharpness = sharpness

    def build_messages(self, shape):
        self.to_spatial = self.pointwise(shape, shape[-1], "to_spatial")
        self.to_temporal = self.pointwise(shape, shape[-1], "to_temporal")
        self.gate = self.pointwise(shape, shape[-1], "gate", activation="sigmoid")

    def messages(self, spatial, temporal):
        gate = self.gate(self.sharpness * (spatial + temporal))
        return gate * self.to_spatial(temporal), gate * self.to_temporal(spatial)

    def get_config(self):
        return {**super().get_config(), "sharpness": self.sharpness}


ct.register_connection("gated", Gated)
