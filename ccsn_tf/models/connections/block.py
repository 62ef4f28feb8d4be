"""What all connection blocks have in common: a residual message to each stream that is zero at the start."""

from __future__ import annotations

import keras


class ConnectionBlock(keras.layers.Layer):
    """Joins one stage of both streams: each stream receives a message from the other (METHOD, Connection block).

        S' = S + BN_0(message to S),    M' = M + BN_0(message to M)

    BN_0's scale starts at zero, so a new block is exactly the identity and leaves pretrained streams undisturbed
    (Wang et al., Non-local Neural Networks, CVPR 2018, use the same start). Subclasses write `messages`.

    Args:
        dropout: share of messages, each that of a segment (a clip, where `inputs` are clips) in one direction, that are
            left out in training; the others are scaled up. A stream that can always ask the other stops learning what
            it could see for itself.

    Call arguments:
        inputs: [spatial, temporal], two float tensors of one shape (N, ..., C); the axes between are positions,
            (H, W) of one segment or (K, H, W) of a clip.

    Returns:
        The two tensors, joined; same shapes and dtypes.
    """

    def __init__(self, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.dropout = dropout

    def build(self, input_shape):
        spatial, temporal = input_shape
        if tuple(spatial) != tuple(temporal):
            raise ValueError(f"A connection block joins maps of one shape. Received: {spatial} and {temporal}.")
        self.build_messages(spatial)
        self.norms, self.drops = [], []
        for stream in ("spatial", "temporal"):
            norm = keras.layers.BatchNormalization(
                gamma_initializer="zeros", epsilon=1e-5, momentum=0.9, dtype=self.dtype_policy, name=f"{stream}_norm"
            )
            norm.build(spatial)
            self.norms.append(norm)
            whole = (None, *[1] * (len(spatial) - 1))
            drop = keras.layers.Dropout(self.dropout, whole, dtype=self.dtype_policy, name=f"{stream}_dropout")
            self.drops.append(drop)

    def call(self, inputs, training=None):
        return tuple(
            stream + drop(norm(message, training=training), training=training)
            for stream, norm, drop, message in zip(inputs, self.norms, self.drops, self.messages(*inputs), strict=True)
        )

    def compute_output_shape(self, input_shape):
        return tuple(tuple(shape) for shape in input_shape)

    def get_config(self):
        return {**super().get_config(), "dropout": self.dropout}

    def build_messages(self, shape):
        """Creates the layers of `messages` for maps of `shape`."""
        raise NotImplementedError

    def messages(self, spatial, temporal):
        """The messages (to the spatial stream, to the temporal stream), shaped as the maps."""
        raise NotImplementedError

    def pointwise(self, shape, units, name, **options):
        """A built 1x1 convolution: a Dense layer over the last axis, whatever the number of position axes."""
        layer = keras.layers.Dense(units, dtype=self.dtype_policy, name=name, **options)
        layer.build(shape)
        return layer
