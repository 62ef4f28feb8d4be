"""What all connection blocks have in common: a residual message to each stream that is zero at the start."""

from __future__ import annotations

import keras


class ConnectionBlock(keras.layers.Layer):
    """Joins one stage of both streams: each stream receives a message from the other (METHOD, Connection block).

        S' = S + BN_0(message to S),    M' = M + BN_0(message to M)

    BN_0's scale starts at zero, so a new block is exactly the identity and leaves pretrained streams undisturbed
    (Wang et al., Non-local Neural Networks, CVPR 2018, use the same start). Subclasses write `messages`.

    Call arguments:
        inputs: [spatial, temporal], two float tensors of one shape (N, ..., C); the axes between are positions,
            (H, W) of one segment or (K, H, W) of a clip.

    Returns:
        The two tensors, joined; same shapes and dtypes.
    """

    def build(self, input_shape):
        spatial, temporal = input_shape
        if tuple(spatial) != tuple(temporal):
            raise ValueError(f"A connection block joins maps of one shape. Received: {spatial} and {temporal}.")
        self.build_messages(spatial)
        self.norms = []
        for stream in ("spatial", "temporal"):
            norm = keras.layers.BatchNormalization(
                gamma_initializer="zeros", epsilon=1e-5, momentum=0.9, dtype=self.dtype_policy, name=f"{stream}_norm"
            )
            norm.build(spatial)
            self.norms.append(norm)

    def call(self, inputs, training=None):
        return tuple(
            stream + norm(message, training=training)
            for stream, norm, message in zip(inputs, self.norms, self.messages(*inputs), strict=True)
        )

    def compute_output_shape(self, input_shape):
        return tuple(tuple(shape) for shape in input_shape)

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
