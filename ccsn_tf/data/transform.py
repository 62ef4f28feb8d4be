"""JPEGs of a clip to the network's input, as graph operations; the same for training, evaluation and prediction."""

from __future__ import annotations

import tensorflow as tf


def decode_snippets(
    rgb: tf.Tensor, flow: tf.Tensor, starts: tf.Tensor, flow_length: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes the frames and flow fields of the snippets at `starts`, and no others.

    Args:
        rgb: string (N+1,), JPEG frames.
        flow: string (N,), JPEG flow fields, x above y.
        starts: int64 (K,), first flow field of each snippet.
        flow_length: L.

    Returns:
        uint8 (K, H, W, 3) and uint8 (K, L, 2, H, W): the middle frame and the L fields of each snippet.
    """
    frames = tf.map_fn(
        lambda index: _decode(rgb[index], 3),
        starts + flow_length // 2,
        fn_output_signature=tf.uint8,
        parallel_iterations=1,  # clips are decoded in parallel already
    )
    indices = tf.reshape(starts[:, None] + tf.range(flow_length, dtype=starts.dtype), [-1])
    fields = tf.map_fn(
        lambda index: _decode(flow[index], 1),
        indices,
        fn_output_signature=tf.uint8,
        parallel_iterations=1,
    )
    shape = tf.shape(frames)
    return frames, tf.reshape(fields, [shape[0], flow_length, 2, shape[1], shape[2]])


def _decode(jpeg, channels):
    # TensorFlow's default is a transform that is off by up to 2 in flow and 11 in frames, and no faster.
    return tf.io.decode_jpeg(jpeg, channels=channels, dct_method="INTEGER_ACCURATE")


def network_input(
    frames: tf.Tensor, fields: tf.Tensor, box: tf.Tensor, mirrored: tf.Tensor, image_size: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Crops, mirrors and scales both modalities alike.

    Args:
        frames: uint8 (K, H, W, 3).
        fields: uint8 (K, L, 2, H, W).
        box: int (3,), top, left, side of the square to keep.
        mirrored: bool scalar; a mirrored x-flow v becomes 255 - v (METHOD, Streams).
        image_size: side of the result.

    Returns:
        `rgb` uint8 (K, S, S, 3) and `flow` uint8 (K, S, S, 2L), channels x1, y1, x2, y2, ...
    """
    top, left, side = box[0], box[1], box[2]
    segments, length = frames.shape[0], fields.shape[1]
    frames = frames[:, top : top + side, left : left + side, :]
    fields = fields[:, :, :, top : top + side, left : left + side]
    fields = tf.reshape(tf.transpose(fields, [0, 3, 4, 1, 2]), [-1, side, side, 2 * length])
    frames = _scaled(frames, [segments, image_size, image_size, 3])
    fields = _scaled(fields, [segments, image_size, image_size, 2 * length])
    return tf.cond(mirrored, lambda: (tf.reverse(frames, [2]), _mirror_flow(fields)), lambda: (frames, fields))


def _mirror_flow(fields):
    is_x = tf.range(fields.shape[-1]) % 2 == 0
    fields = tf.reverse(fields, [2])
    return tf.where(is_x, 255 - fields, fields)


def _scaled(images, shape):
    scaled = tf.image.resize(images, shape[1:3], method="bilinear")
    return tf.ensure_shape(tf.cast(tf.round(scaled), tf.uint8), shape)
