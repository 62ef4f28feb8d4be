"""What all connection blocks have in common, a residual message to each stream; those that mix position by position."""

import contextlib
from collections.abc import Callable, Iterable, Iterator

import keras
import numpy as np
from keras import ops

from ccsn_tf.config.settings import STREAMS
from ccsn_tf.errors import UserError
from ccsn_tf.models.train_step import Dropout


class ConnectionBlock(keras.layers.Layer):
    """Joins one stage of both streams: each stream receives a message from the other (METHOD, Connection block).

        S' = S + BN_0(message to S),    M' = M + BN_0(message to M)

    BN_0's scale starts at zero, so a new block is exactly the identity and leaves pretrained streams undisturbed
    (Wang et al., Non-local Neural Networks, CVPR 2018, use the same start).

    Subclasses define `build_messages` and `messages`; `pointwise` makes their 1x1 convolutions. A subclass whose
    `__init__` takes arguments returns them from `get_config`, so that models with it can be saved.

    Args:
        dropout: share of messages that are left out in training, each that of a segment (of a clip, where `inputs` are
            clips) in one direction; the others are scaled up. A stream that can always ask the other stops learning
            what it could see for itself.

    Call arguments:
        inputs: [spatial, temporal], two float tensors of one shape (N, ..., C); the axes between are positions,
            (H, W) of one segment or (K, H, W) of a clip.

    Returns:
        The two tensors, joined; same shapes and dtypes.

    Raises:
        UserError: the messages are not two tensors of the streams' shapes.

    Example:
        class Sum(ConnectionBlock):
            def build_messages(self, shape):
                self.to_spatial = self.pointwise(shape, shape[-1], "to_spatial")
                self.to_temporal = self.pointwise(shape, shape[-1], "to_temporal")

            def messages(self, spatial, temporal):
                return self.to_spatial(temporal), self.to_temporal(spatial)

        model = CCSN(classes=10, connection=Sum)
    """

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        # A saved model finds the class again wherever it has been defined or imported.
        keras.saving.register_keras_serializable("ccsn_tf")(cls)

    def __init__(self, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.dropout = dropout
        self._complaint = ""

    def build(self, input_shape):
        spatial, temporal = input_shape
        if tuple(spatial) != tuple(temporal):
            raise ValueError(f"A connection block joins maps of one shape. Received: {spatial} and {temporal}.")
        self.build_messages(spatial)
        self.norms, self.drops = [], []
        for stream in STREAMS:
            norm = keras.layers.BatchNormalization(
                gamma_initializer="zeros", epsilon=1e-5, momentum=0.9, dtype=self.dtype_policy, name=f"{stream}_norm"
            )
            norm.build(spatial)
            self.norms.append(norm)
            whole = (None, *[1] * (len(spatial) - 1))
            drop = Dropout(self.dropout, whole, dtype=self.dtype_policy, name=f"{stream}_dropout")
            self.drops.append(drop)

    def __call__(self, inputs, *args, **kwargs):
        try:
            return super().__call__(inputs, *args, **kwargs)
        except UserError as error:
            # Keras, which infers shapes, makes a page of it.
            raise UserError(self._complaint or str(error)) from None

    def call(self, inputs, training=None):
        shape, other = (tuple(stream.shape) for stream in inputs)
        if not _fits(shape, other):
            self._complain(
                f"`inputs` of the streams, which {self.name} joins, have other numbers of clips or segments: its maps "
                f"are {shape} and {other}."
            )
        messages = self.messages(*inputs)
        received = messages
        if isinstance(messages, (tuple, list)):
            received = [tuple(message.shape) if hasattr(message, "shape") else message for message in messages]
        if not isinstance(received, list) or len(received) != 2 or not all(_fits(each, shape) for each in received):
            self._complain(
                f"`connection` {type(self).__name__}.messages() must return two tensors of the streams' shape, "
                f"{shape}, to the spatial and to the temporal stream. Received: {received}."
            )
        return tuple(
            stream + drop(norm(message, training=training), training=training)
            for stream, norm, drop, message in zip(inputs, self.norms, self.drops, messages, strict=True)
        )

    def _complain(self, sentence):
        self._complaint = sentence
        raise UserError(sentence)

    def get_config(self):
        return {**super().get_config(), "dropout": self.dropout}

    def build_messages(self, shape):
        """Creates the layers of `messages` for maps of `shape`; none, where it is not defined."""

    def messages(self, spatial, temporal):
        """The messages (to the spatial stream, to the temporal stream), shaped as the maps."""
        self._complain(f"`connection` {type(self).__name__} must define messages(spatial, temporal).")

    def pointwise(self, shape, units, name, **options):
        """A built 1x1 convolution: a Dense layer over the last axis, whatever the number of position axes."""
        layer = keras.layers.Dense(units, dtype=self.dtype_policy, name=name, **options)
        layer.build(shape)
        return layer


@contextlib.contextmanager
def other_calls(blocks: Iterable[ConnectionBlock], make: Callable[[ConnectionBlock], Callable]) -> Iterator[None]:
    """Inside, each block computes `make(block)` of its inputs in place of its own `call`; graphs are traced anew."""
    blocks = list(blocks)
    try:
        for block in blocks:
            block.call = make(block)
        yield
    finally:
        for block in blocks:
            del block.call


def without_messages(blocks: Iterable[ConnectionBlock]):
    """Inside, the blocks leave the streams as they are: what a model that is traced here says without connection."""
    return other_calls(blocks, lambda block: lambda streams, training=None: tuple(streams))


def relative_change(before, after) -> float:
    """|after - before| / |before|: how large the message to a stream is beside the stream's maps."""
    before, after = (ops.convert_to_numpy(ops.cast(maps, "float32")) for maps in (before, after))
    return float(np.linalg.norm(after - before) / np.linalg.norm(before))


def _fits(shape, wanted):
    """Whether two shapes are equal as far as both are known."""
    return (
        isinstance(shape, tuple)
        and len(shape) == len(wanted)
        and all(a == b or None in (a, b) for a, b in zip(shape, wanted, strict=True))
    )


class SumConnection(ConnectionBlock):
    """Adds a 1x1 convolution of the other stream (after Feichtenhofer et al., Spatiotemporal Residual Networks, 2016).

    There motion is added to appearance only; here both directions are joined, as METHOD asks of every block.
    """

    def build_messages(self, shape):
        self.projections = [self.pointwise(shape, shape[-1], f"to_{stream}") for stream in STREAMS]

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
        both = (*shape[:-1], 2 * shape[-1])
        self.projections = [
            self.pointwise(both, shape[-1], f"to_{stream}", kernel_initializer=_stacked_identity) for stream in STREAMS
        ]

    def messages(self, spatial, temporal):
        both = ops.concatenate([spatial, temporal], axis=-1)
        return tuple(projection(both) for projection in self.projections)


def _stacked_identity(shape, dtype=None):
    return ops.concatenate([ops.eye(shape[1], dtype=dtype)] * 2, axis=0)
