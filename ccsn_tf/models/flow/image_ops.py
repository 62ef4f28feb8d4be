"""Image operations of the flow layers, on batches of planes (..., H, W); sizes are static, the batch need not be."""

import keras
from keras import ops

from ccsn_tf.models.flow.loops import compiled

# The fourth-order central difference, from two pixels before to two after.
CENTRAL = (1 / 12, -8 / 12, 0.0, 8 / 12, -1 / 12)
_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601, as OpenCV has it


def grey(frames):
    """Frames (N, T, H, W), or RGB (N, T, H, W, 3), as float32 (N, T, H, W), 0-255; uint8 RGB gives whole numbers."""
    values = ops.cast(frames, "float32")
    if len(frames.shape) == 4:
        return values
    mixed = sum(weight * values[..., channel] for channel, weight in enumerate(_GREY))
    return ops.round(mixed) if keras.backend.standardize_dtype(frames.dtype) == "uint8" else mixed


@compiled
def smooth(images):
    """Images (M, H, W) seen through (1, 3, 1) / 5 along both axes; beyond the border is the border."""
    for axis in (1, 2):
        size = images.shape[axis]
        before = ops.concatenate([_part(images, axis, 0, 1), _part(images, axis, 0, size - 1)], axis=axis)
        after = ops.concatenate([_part(images, axis, 1, size), _part(images, axis, size - 1, size)], axis=axis)
        images = 0.2 * (before + after) + 0.6 * images
    return images


@compiled
def halve(images):
    """Means of 2x2 pixels, (M, H, W) to (M, ceil(H / 2), ceil(W / 2)); an odd side repeats its last line."""
    if images.shape[1] % 2:
        images = ops.concatenate([images, images[:, -1:]], axis=1)
    if images.shape[2] % 2:
        images = ops.concatenate([images, images[:, :, -1:]], axis=2)
    rows = images[:, 0::2] + images[:, 1::2]
    return 0.25 * (rows[:, :, 0::2] + rows[:, :, 1::2])


def enlarge(fields, height, width):
    """Fields (2, P, h, w) of the next coarser level, bilinear, at the places of this one: (2, P, height, width)."""
    h, w = fields.shape[2:]
    larger = ops.image.resize(
        ops.reshape(fields, (-1, h, w, 1)), (2 * h, 2 * w), interpolation="bilinear", data_format="channels_last"
    )
    return ops.reshape(larger[:, :height, :width, 0], (2, -1, height, width))


@compiled
def derivatives(images):
    """The x- and the y-derivative of images (M, H, W) by `CENTRAL`; beyond the border is the border."""
    found = []
    for axis in (2, 1):
        size = images.shape[axis]
        first, last = _part(images, axis, 0, 1), _part(images, axis, size - 1, size)
        wide = ops.concatenate([first, first, images, last, last], axis=axis)
        taps = [_part(wide, axis, place, place + size) for place in range(5)]
        found.append(CENTRAL[3] * (taps[3] - taps[1]) + CENTRAL[4] * (taps[4] - taps[0]))
    return found


def _part(images, axis, begin, end):
    return images[:, :, begin:end] if axis == 2 else images[:, begin:end]


def forward_differences(fields):
    """x- and y-differences to the next pixel of fields (2, P, H, W), 0 at the last one."""
    x = fields[..., 1:] - fields[..., :-1]
    y = fields[..., 1:, :] - fields[..., :-1, :]
    return _shifted(x, 3, after=1), _shifted(y, 2, after=1)


def divergence(x, y):
    """Minus the adjoint of `forward_differences`, of fields that are 0 where those are."""
    before_x, before_y = _shifted(x[..., :-1], 3, before=1), _shifted(y[..., :-1, :], 2, before=1)
    return (x - before_x) + (y - before_y)


def without_last(x, y):
    """Fields as `forward_differences` leaves them: x is 0 in the last column, y in the last row."""
    return _shifted(x[..., :-1], 3, after=1), _shifted(y[..., :-1, :], 2, after=1)


def _shifted(fields, axis, before=0, after=0):
    # A cut and zeros, where rolling or joining would be one step less: TensorFlow shares those out among its threads
    # however small they are, which takes several times as long as they do.
    return ops.pad(fields, [(before, after) if number == axis else (0, 0) for number in range(4)])


@compiled
def median(fields):
    """The median of each pixel and its eight neighbours, of fields (2, P, H, W); beyond the border is the border.

    Columns of three are sorted, once for the three places that they serve: of the nine values, the median is that of
    the greatest of the lows, the median of the middles, and the least of the highs.
    """
    wide = ops.concatenate([fields[..., :1, :], fields, fields[..., -1:, :]], axis=2)
    wide = ops.concatenate([wide[..., :1], wide, wide[..., -1:]], axis=3)
    above, here, below = wide[..., :-2, :], wide[..., 1:-1, :], wide[..., 2:, :]
    less, more = ops.minimum(above, below), ops.maximum(above, below)
    low, high = ops.minimum(less, here), ops.maximum(more, here)
    middle = ops.maximum(less, ops.minimum(more, here))
    lows, middles, highs = ((part[..., :-2], part[..., 1:-1], part[..., 2:]) for part in (low, middle, high))
    return _middle_of(
        ops.maximum(ops.maximum(*lows[:2]), lows[2]),
        _middle_of(*middles),
        ops.minimum(ops.minimum(*highs[:2]), highs[2]),
    )


def _middle_of(a, b, c):
    return ops.maximum(ops.minimum(a, b), ops.minimum(ops.maximum(a, b), c))


def warp(planes, length, field):
    """Looks into images where a field points, bilinearly; beyond the border is the border.

    Args:
        planes: what to look up, each (N * T, H, W), image t of snippet n at n * T + t.
        length: L = T - 1; pair (n, l) of a field looks into image l + 1 of snippet n.
        field: (2, P, H, W), P = N L.

    Returns:
        (planes, P, H, W).
    """
    height, width = planes[0].shape[1:]
    # Neighbours of the last pixels, which have no weight: an image is exactly itself under no motion.
    table = ops.pad(ops.reshape(ops.stack(planes, axis=-1), (-1, len(planes))), ((0, width + 1), (0, 0)))
    columns, rows = ops.arange(width, dtype="float32"), ops.arange(height, dtype="float32")[:, None]
    # Parts of a pixel are taken of the motion, not of the place, in which a float has no room for them.
    x = ops.clip(field[0], -columns, (width - 1.0) - columns)
    y = ops.clip(field[1], -rows, (height - 1.0) - rows)
    left, top = ops.floor(x), ops.floor(y)
    part_x, part_y = x - left, y - top
    pair = ops.arange(ops.shape(field)[1], dtype="int32")
    image = pair + pair // length + 1  # a snippet has one image more than pairs
    inside = ops.cast((top + rows) * float(width) + (left + columns), "int32")
    place = inside + (image * (height * width))[:, None, None]
    # Rows of all planes at once, then planes again: the arithmetic after it is on whole planes.
    corners = [
        ops.transpose(ops.take(table, place + offset, axis=0), (3, 0, 1, 2)) for offset in (0, 1, width, width + 1)
    ]
    above = corners[0] + part_x * (corners[1] - corners[0])
    below = corners[2] + part_x * (corners[3] - corners[2])
    return above + part_y * (below - above)
