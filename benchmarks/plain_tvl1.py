"""TV-L1 as one writes it down first: what `TVL1Flow` is timed against, and what its tests compare it with."""

from __future__ import annotations

import tensorflow as tf


def plain_tvl1(first, second, levels=4, warps=2, iterations=8, attachment=0.15, tightness=0.3, step=0.25):
    """Flow of pairs, each by itself: pyramids and derivatives a pair, a tensor a component, four gathers of rows.

    Args:
        first, second: uint8 or float (P, H, W) grey.
        others: see `TVL1Flow`; the same at each level.

    Returns:
        float32 (P, H, W, 2).
    """
    firsts, seconds = [tf.cast(first, tf.float32)], [tf.cast(second, tf.float32)]
    while len(firsts) < levels and min(firsts[-1].shape[1:]) >= 16:
        firsts.append(_halve(firsts[-1]))
        seconds.append(_halve(seconds[-1]))
    x = y = None
    for before, after in zip(reversed(firsts), reversed(seconds), strict=True):
        height, width = before.shape[1:]
        if x is None:
            x = y = tf.zeros_like(before)
        else:
            x, y = (_double(part, height, width) for part in (x, y))
        stack = tf.stack([after, _slope(after, 2), _slope(after, 1)], axis=-1)
        dual = [tf.zeros_like(x)] * 4
        for _ in range(warps):
            warped = _warp(stack, x, y)
            gx, gy = warped[..., 1], warped[..., 2]
            rest = warped[..., 0] - before - gx * x - gy * y
            for _ in range(iterations):
                ratio = (rest + gx * x + gy * y) / (gx * gx + gy * gy + 1e-4)
                ratio = tf.clip_by_value(ratio, -attachment * tightness, attachment * tightness)
                x = x - ratio * gx + tightness * _divergence(dual[0], dual[1])
                y = y - ratio * gy + tightness * _divergence(dual[2], dual[3])
                slopes = [_forward(x, 2), _forward(x, 1), _forward(y, 2), _forward(y, 1)]
                lengths = [tf.sqrt(slopes[i] ** 2 + slopes[i + 1] ** 2 + 1e-12) for i in (0, 2)]
                rate = step / tightness
                dual = [(dual[i] + rate * slopes[i]) / (1 + rate * lengths[i // 2]) for i in range(4)]
    return tf.stack([x, y], axis=-1)


def _padded(image, axis, before, after):
    return tf.pad(image, [(before, after) if axis == number else (0, 0) for number in range(3)])


def _cut(image, axis, begin, end):
    return image[:, :, begin:end] if axis == 2 else image[:, begin:end]


def _halve(image):
    for axis in (1, 2):
        if image.shape[axis] % 2:
            image = tf.concat([image, _cut(image, axis, -1, None)], axis)
    return (image[:, ::2, ::2] + image[:, 1::2, ::2] + image[:, ::2, 1::2] + image[:, 1::2, 1::2]) / 4


def _double(part, height, width):
    size = (2 * part.shape[1], 2 * part.shape[2])
    return 2 * tf.image.resize(part[..., None], size)[:, :height, :width, 0]


def _slope(image, axis):
    size = image.shape[axis]
    first, last = _cut(image, axis, 0, 1), _cut(image, axis, -1, None)
    wide = tf.concat([first, first, image, last, last], axis)
    taps = [_cut(wide, axis, place, place + size) for place in range(5)]
    return (8 * (taps[3] - taps[1]) - (taps[4] - taps[0])) / 12


def _forward(part, axis):
    return _padded(_cut(part, axis, 1, None) - _cut(part, axis, 0, -1), axis, 0, 1)


def _divergence(x, y):
    x, y = (dual - _padded(_cut(dual, axis, 0, -1), axis, 1, 0) for dual, axis in ((x, 2), (y, 1)))
    return x + y


def _warp(stack, x, y):
    _, height, width, channels = stack.shape
    x = tf.clip_by_value(tf.range(width, dtype=tf.float32) + x, 0, width - 1)
    y = tf.clip_by_value(tf.range(height, dtype=tf.float32)[:, None] + y, 0, height - 1)
    left, top = tf.minimum(tf.floor(x), width - 2), tf.minimum(tf.floor(y), height - 2)
    part_x, part_y = (x - left)[..., None], (y - top)[..., None]
    pair = tf.range(tf.shape(stack)[0]) * (height * width)
    place = tf.cast(top * width + left, tf.int32) + pair[:, None, None]
    rows = tf.reshape(stack, (-1, channels))
    corners = [tf.gather(rows, place + offset) for offset in (0, 1, width, width + 1)]
    above = corners[0] * (1 - part_x) + corners[1] * part_x
    below = corners[2] * (1 - part_x) + corners[3] * part_x
    return above * (1 - part_y) + below * part_y
