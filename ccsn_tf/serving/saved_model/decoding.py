"""JPEGs of snippets to the network's input, inside the served graph; what cannot be decoded right is refused there.

The pixels are those of `data.views`, which training and evaluation use, to the last bit: the same decoder and crop,
and OpenCV's scaling in its own fixed-point arithmetic. Scaled by TensorFlow, a tenth of the pixels would differ by one
level, and scores by some hundredths.
"""

import tensorflow as tf

from ccsn_tf.serving.metadata import MAX_PIXELS, MAX_SCANS, MAX_WORK

# What work is free is for small requests, and for dark clips of small videos.
_FREE_WORK, _WORK_A_BYTE = 2**24, 128


def decode_segments(rgb: tf.Tensor, flow: tf.Tensor, image_size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes, crops to the centre square and scales.

    Args:
        rgb: string (N,), one JPEG frame a segment; sizes may differ.
        flow: string (N, L), JPEG flow fields, grey, x above y; each plane as large as the segment's frame or smaller,
            in its proportions.
        image_size: S.

    Returns:
        uint8 (N, S, S, 3) and (N, S, S, 2L). Evaluating them fails with InvalidArgument, in words, where a JPEG is
        none, is damaged, is too large, or does not fit the others.
    """
    specs = (
        tf.TensorSpec((image_size, image_size, 3), tf.uint8),
        tf.TensorSpec((image_size, image_size, 2 * flow.shape[1]), tf.uint8),
    )
    sizes, cost = _measured(rgb, "rgb", image_size**2)
    flow_sizes, flow_cost = _measured(tf.reshape(flow, [-1]), "flow", 2 * image_size**2)
    flow_sizes = tf.reshape(flow_sizes, [-1, flow.shape[1], 3])
    with tf.control_dependencies([_affordable(cost + flow_cost)]):
        inputs = tuple(map(tf.identity, (rgb, flow, sizes, flow_sizes)))
    return tf.map_fn(lambda segment: _decode_segment(*segment, image_size), inputs, fn_output_signature=specs)


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
    shapes, cost = _measured(flat, "frames", image_size**2)
    channels = shapes[:, 2]
    message = "frames: not a colour JPEG of 3 channels, without alpha: convert it to RGB; channels:"
    colour = tf.debugging.Assert(tf.reduce_all(channels == 3), [message, _first(channels, channels != 3)])
    sizes = tf.reshape(shapes[:, :2], [-1, count, 2])
    other = tf.reduce_any(sizes != sizes[:, :1], [1, 2])
    message = "frames: the frames of a snippet have different sizes: scale them to one; of its frames, height, width:"
    alike = tf.debugging.Assert(
        ~tf.reduce_any(other), [message, sizes[tf.argmax(tf.cast(other, tf.int32))]], summarize=2 * count
    )
    with tf.control_dependencies([colour, alike, _affordable(cost)]):
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
    """The box of `data.sampling.view_boxes`'s centre view, a square, int32 (4,): top, left, height, width."""
    side = tf.minimum(height, width)
    free = tf.cast(tf.stack([height - side, width - side]), tf.float32)
    corner = tf.cast(tf.round(free * 0.5), tf.int32)  # rounds halves to even, as Python does
    return tf.concat([corner, [side, side]], 0)


def _decode_segment(frame_jpeg, field_jpegs, frame_size, field_sizes, image_size):
    height, width, _ = tf.unstack(frame_size)
    box = centre_box(height, width)
    tall, wide = field_sizes[0, 0] // 2, field_sizes[0, 1]
    # Sides that were scaled alike and rounded, and no larger.
    alike = (2 * tf.abs(wide * height - tall * width) <= height + width) & (tall <= height) & (wide <= width)
    planes = []
    for jpeg, size in zip(tf.unstack(field_jpegs), tf.unstack(field_sizes), strict=True):
        fits = tf.reduce_all(tf.equal(size, [2 * tall, wide, 1])) & alike & (tall > 0)
        message = "flow: not a grey JPEG, x above y, each of its frame's size or, all alike, smaller in proportion; "
        message += "found, expected at most:"
        with tf.control_dependencies([tf.debugging.Assert(fits, [message, size, [2 * height, width, 1]])]):
            planes.append(tf.reshape(_decode(tf.identity(jpeg), 1), [2, tall, wide]))
    fields = tf.reshape(tf.transpose(tf.stack(planes), [2, 3, 0, 1]), [tall, wide, -1])  # x1, y1, x2, y2, ...
    of_fields = _box_on_field(box, tf.stack([height, width]), tf.stack([tall, wide]))
    return _scaled(_decode(frame_jpeg, 3), box, image_size, 3), _scaled(fields, of_fields, image_size, 2 * len(planes))


def _box_on_field(box, frame, field):
    """See `data.sampling.box_on_field`."""
    box, frame, field = (tf.cast(part, tf.int64) for part in (box, frame, field))
    first, last = ((2 * place * field + frame) // (2 * frame) for place in (box[:2], box[:2] + box[2:]))
    begin = tf.minimum(first, field - 1)
    return tf.cast(tf.concat([begin, tf.maximum(last - begin, 1)], 0), tf.int32)


def _centre(image, image_size):
    height, width = tf.unstack(tf.shape(image)[:2])
    return _scaled(image, centre_box(height, width), image_size, 3)


def _scaled(image, box, image_size, channels):
    """The `box` of an image, uint8 (H, W, C), scaled to (S, S, C) as `cv2.resize(..., INTER_LINEAR)` does it.

    Weights have 11 bits; of a row's sums 4 are dropped before the columns' turn, then 16, then 2, which rounds.
    """
    top, left, height, width = tf.unstack(box)
    image, shift = image[top : top + height, left : left + width], tf.bitwise.right_shift
    low, high = (
        tf.cast(tf.gather(image, index, axis=1), tf.int32) * weights[:, None]
        for index, weights in _taps(width, image_size, at_border=True)
    )
    rows = shift(low + high, 4)
    low, high = (
        shift(tf.gather(rows, index) * weights[:, None, None], 16)
        for index, weights in _taps(height, image_size, at_border=False)
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


def _measured(jpegs, name, least):
    """Of JPEGs (N,) the (height, width, channels) that each declares, int32 (N, 3), and of all int64 (2,), the work to
    decode and to scale them, for each at least so much, and their bytes.

    Each is known to be a JPEG within bounds then. The marker of a scan cannot occur inside of one.
    """
    no_jpeg = ~tf.io.is_jpeg(jpegs)
    message = f"{name}: not a JPEG, the one format that is taken: convert it; bytes:"
    checks = [tf.debugging.Assert(~tf.reduce_any(no_jpeg), [message, _first(tf.strings.length(jpegs), no_jpeg)])]
    scans = tf.strings.split(jpegs, b"\xff\xda").row_lengths() - 1
    message = f"{name}: a JPEG may have {MAX_SCANS} scans: encode it as baseline; scans:"
    within = tf.reduce_all(scans <= MAX_SCANS)
    checks.append(tf.debugging.Assert(within, [message, _first(scans, scans > MAX_SCANS)]))
    with tf.control_dependencies(checks):
        shapes = tf.map_fn(
            tf.io.extract_jpeg_shape, tf.identity(jpegs), fn_output_signature=tf.TensorSpec((3,), tf.int32)
        )
    pixels = tf.reduce_prod(tf.cast(shapes[:, :2], tf.int64), 1)
    wrong = (pixels <= 0) | (pixels > MAX_PIXELS)
    message = f"{name}: a JPEG must have 1 to {MAX_PIXELS} pixels; height, width:"
    right = tf.debugging.Assert(~tf.reduce_any(wrong), [message, _first(shapes[:, :2], wrong)])
    with tf.control_dependencies([right]):
        shapes = tf.identity(shapes)
    work, size = tf.maximum(pixels * tf.maximum(scans, 1), least), tf.cast(tf.strings.length(jpegs), tf.int64)
    return shapes, tf.stack([tf.reduce_sum(work), tf.reduce_sum(size)])


def _affordable(cost):
    work, size = tf.unstack(cost)
    message = f"the JPEGs of a request may have {_FREE_WORK} pixels and {_WORK_A_BYTE} a byte more, up to {MAX_WORK}, "
    message += "counted once a scan, and once scaled: send fewer or smaller ones; pixels, bytes:"
    return tf.debugging.Assert((work <= _FREE_WORK + _WORK_A_BYTE * size) & (work <= MAX_WORK), [message, cost])


def _first(values, where):
    """The first of the values (N, ...) where it is true, or any other where it nowhere is, N > 0."""
    return values[tf.argmax(tf.cast(where, tf.int32))]


def _decode(jpeg, channels):
    return tf.io.decode_jpeg(jpeg, channels=channels, dct_method="INTEGER_ACCURATE")
