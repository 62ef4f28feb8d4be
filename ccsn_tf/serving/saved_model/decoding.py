"""JPEGs of snippets to the network's input, inside the served graph; what cannot be decoded right is refused there.

The pixels are those of `data.views`, which training and evaluation use, to the last bit: the same decoder and crop,
and OpenCV's scaling in its own fixed-point arithmetic. Scaled by TensorFlow, a tenth of the pixels would differ by one
level, and scores by some hundredths.
"""

from __future__ import annotations

import tensorflow as tf

# Of one JPEG. A header may announce 4 billion pixels in 200 bytes; this allows Full HD, flow's two planes included.
MAX_PIXELS = 2**22


def decode_segments(rgb: tf.Tensor, flow: tf.Tensor, image_size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes, crops to the centre square and scales.

    Args:
        rgb: string (N,), one JPEG frame a segment; sizes may differ.
        flow: string (N, L), JPEG flow fields, grey, x above y, as wide as the segment's frame and twice as high.
        image_size: S.

    Returns:
        uint8 (N, S, S, 3) and (N, S, S, 2L). Evaluating them fails with InvalidArgument, in words, where a JPEG is
        none, is damaged, is too large, or does not fit the others.
    """
    specs = (
        tf.TensorSpec((image_size, image_size, 3), tf.uint8),
        tf.TensorSpec((image_size, image_size, 2 * flow.shape[1]), tf.uint8),
    )
    return tf.map_fn(lambda jpegs: _decode_segment(*jpegs, image_size), (rgb, flow), fn_output_signature=specs)


def decode_frames(jpegs: tf.Tensor, image_size: int) -> tf.Tensor:
    """Decodes the frames of snippets from which flow is computed, and crops and scales them likewise.

    Args:
        jpegs: string (N, T), T known, colour JPEGs; those of a snippet have one size.
        image_size: S.

    Returns:
        uint8 (N, T, S, S, 3). Evaluating it fails with InvalidArgument, in words, where a JPEG is none, is damaged, is
        too large, has another number of channels, or another size than the snippet's first.
    """
    flat, count = tf.reshape(jpegs, [-1]), jpegs.shape[1]
    sizes = tf.reshape(tf.map_fn(_colour_size, flat, fn_output_signature=tf.TensorSpec((2,), tf.int32)), [-1, count, 2])
    other = tf.reduce_any(sizes != sizes[:, :1], [1, 2])
    message = "frames: the frames of a snippet have different sizes: scale them to one; of its frames, height, width:"
    alike = tf.debugging.Assert(
        ~tf.reduce_any(other), [message, sizes[tf.argmax(tf.cast(other, tf.int32))]], summarize=2 * count
    )
    with tf.control_dependencies([alike]):
        flat = tf.identity(flat)
    spec = tf.TensorSpec((image_size, image_size, 3), tf.uint8)
    frames = tf.map_fn(lambda jpeg: _centre(_decode(jpeg, 3), image_size), flat, fn_output_signature=spec)
    return tf.reshape(frames, [-1, count, image_size, image_size, 3])


def scale_frames(frames: tf.Tensor, image_size: int) -> tf.Tensor:
    """Crops frames, uint8 (N, H, W, 3), to the centre square and scales them, (N, S, S, 3).

    Frames of (S, S) are themselves. Evaluating it fails with InvalidArgument where they are too large.
    """
    size = tf.shape(frames)[1:3]
    pixels = tf.reduce_prod(tf.cast(size, tf.int64))
    message = f"frames: a frame must have 1 to {MAX_PIXELS} pixels: scale it down; height, width:"
    within = tf.debugging.Assert((pixels > 0) & (pixels <= MAX_PIXELS), [message, size])
    with tf.control_dependencies([within]):
        frames = tf.identity(frames)
    spec = tf.TensorSpec((image_size, image_size, 3), tf.uint8)
    return tf.cond(
        tf.reduce_all(size == image_size),
        lambda: tf.reshape(frames, [-1, image_size, image_size, 3]),
        lambda: tf.map_fn(lambda frame: _centre(frame, image_size), frames, fn_output_signature=spec),
    )


def centre_box(height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """The box of `data.sampling.view_boxes`'s centre view, a square, int32 (3,): top, left, side."""
    side = tf.minimum(height, width)
    free = tf.cast(tf.stack([height - side, width - side]), tf.float32)
    return tf.concat([tf.cast(tf.round(free * 0.5), tf.int32), [side]], 0)  # rounds halves to even, as Python does


def _decode_segment(frame_jpeg, field_jpegs, image_size):
    height, width, _ = tf.unstack(_jpeg_shape(frame_jpeg, "rgb"))
    frame = _decode(frame_jpeg, 3)
    planes = []
    for jpeg in tf.unstack(field_jpegs):
        size = _jpeg_shape(jpeg, "flow")
        fits = tf.reduce_all(tf.equal(size, [2 * height, width, 1]))
        message = "flow: not a grey JPEG, x above y, as wide as its frame and twice as high; found, expected:"
        with tf.control_dependencies([tf.debugging.Assert(fits, [message, size, [2 * height, width, 1]])]):
            planes.append(tf.reshape(_decode(tf.identity(jpeg), 1), [2, height, width]))
    fields = tf.reshape(tf.transpose(tf.stack(planes), [2, 3, 0, 1]), [height, width, -1])  # x1, y1, x2, y2, ...
    box = centre_box(height, width)
    return _scaled(frame, box, image_size, 3), _scaled(fields, box, image_size, 2 * len(planes))


def _colour_size(jpeg):
    """(height, width) of a colour JPEG, int32 (2,)."""
    shape = _jpeg_shape(jpeg, "frames")
    message = "frames: not a colour JPEG of 3 channels, without alpha: convert it to RGB; channels:"
    with tf.control_dependencies([tf.debugging.Assert(shape[2] == 3, [message, shape[2]])]):
        return tf.identity(shape[:2])


def _centre(image, image_size):
    height, width = tf.unstack(tf.shape(image)[:2])
    return _scaled(image, centre_box(height, width), image_size, 3)


def _scaled(image, box, image_size, channels):
    """The square `box` of an image, uint8 (H, W, C), scaled to (S, S, C) as `cv2.resize(..., INTER_LINEAR)` does it.

    Weights have 11 bits; of a row's sums 4 are dropped before the columns' turn, then 16, then 2, which rounds.
    """
    top, left, side = tf.unstack(box)
    image, shift = image[top : top + side, left : left + side], tf.bitwise.right_shift
    low, high = (
        tf.cast(tf.gather(image, index, axis=1), tf.int32) * weights[:, None]
        for index, weights in _taps(side, image_size, at_border=True)
    )
    rows = shift(low + high, 4)
    low, high = (
        shift(tf.gather(rows, index) * weights[:, None, None], 16)
        for index, weights in _taps(side, image_size, at_border=False)
    )
    return tf.ensure_shape(tf.cast(shift(low + high + 2, 2), tf.uint8), (image_size, image_size, channels))


def _taps(side, image_size, at_border):
    """Of each output position the two inputs that it mixes: ((indices, weights), (indices, weights)), int32 (S,) each.

    The weights of a pair sum to 2048. With `at_border` a position outside takes the border's pixel whole; otherwise
    it mixes that pixel with itself, which rounds otherwise (OpenCV does the first along rows, the second along
    columns).
    """
    scale = 1.0 / (tf.cast(image_size, tf.float64) / tf.cast(side, tf.float64))
    place = tf.cast((tf.range(image_size, dtype=tf.float64) + 0.5) * scale - 0.5, tf.float32)
    index = tf.cast(tf.floor(place), tf.int32)
    share = place - tf.cast(index, tf.float32)
    if at_border:
        share = tf.where((index < 0) | (index >= side - 1), 0.0, share)
    weights = [tf.cast(tf.round(part * 2048.0), tf.int32) for part in (1.0 - share, share)]
    return [(tf.clip_by_value(index + step, 0, side - 1), weight) for step, weight in enumerate(weights)]


def _jpeg_shape(jpeg, name):
    """The (height, width, channels) that a JPEG's header declares, within bounds, int32 (3,)."""
    message = f"{name}: not a JPEG, the one format that is taken: convert it; bytes:"
    is_jpeg = tf.debugging.Assert(tf.io.is_jpeg(jpeg), [message, tf.strings.length(jpeg)])
    with tf.control_dependencies([is_jpeg]):
        shape = tf.io.extract_jpeg_shape(tf.identity(jpeg))
    pixels = tf.reduce_prod(tf.cast(shape[:2], tf.int64))
    message = f"{name}: a JPEG must have 1 to {MAX_PIXELS} pixels; height, width:"
    within = tf.debugging.Assert((pixels > 0) & (pixels <= MAX_PIXELS), [message, shape[:2]])
    with tf.control_dependencies([within]):
        return tf.identity(shape)


def _decode(jpeg, channels):
    return tf.io.decode_jpeg(jpeg, channels=channels, dct_method="INTEGER_ACCURATE")
