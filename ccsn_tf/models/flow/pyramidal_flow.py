"""What the flow layers share: frames to pyramids, from the coarsest level to the finest, fields to channels."""

from __future__ import annotations

import dataclasses

import keras
from keras import ops

from ccsn_tf.errors import UserError
from ccsn_tf.models.flow.image_ops import derivatives, enlarge, grey, halve

_SMALLEST = 8  # sides of the coarsest level are at least this long, where frames allow it
_PARTS = {0: 5, 1: 2}  # parts, of snippets' pairs, that a level is refined in; others: all pairs at once


@dataclasses.dataclass
class Level:
    """One level of the pyramid of N snippets of L pairs: `number` from 0, the finest; images (N * (L + 1), H, W)."""

    number: int
    length: int
    images: object
    x: object
    y: object

    def first(self, planes):
        """Of planes (N * (L + 1), H, W), those of the frames that pairs start from: (N * L, H, W)."""
        return self._frames(planes, 0, self.length)

    def pairs(self, begin, end) -> Level:
        """The level of snippets that hold the pairs from `begin` to before `end` of these."""
        kept = (self._frames(planes, begin, end + 1) for planes in (self.images, self.x, self.y))
        return Level(self.number, end - begin, *kept)

    def _frames(self, planes, begin, end):
        height, width = planes.shape[1:]
        snippets = ops.reshape(planes, (-1, self.length + 1, height, width))
        return ops.reshape(snippets[:, begin:end], (-1, height, width))


class PyramidalFlow(keras.layers.Layer):
    """Optical flow from coarse to fine between consecutive frames; a subclass refines the field of a level.

    Pyramid and derivatives are made once a frame and serve both pairs that it belongs to. A component is bounded by
    the longer side of the frame. Computed in float32 whatever the policy.

    Args:
        levels: most levels of the pyramid, each half as large; fewer where a side would be shorter than 8 pixels.

    Call arguments:
        frames: uint8 or float, 0-255, (N, L + 1, H, W), or RGB (N, L + 1, H, W, 3); L >= 1.

    Returns:
        float32 (N, H, W, 2L), channels x1, y1, x2, y2, ...: field l leads from frame l to frame l + 1, in pixels.

    Raises:
        UserError: frames of another shape.
    """

    def __init__(self, levels, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.levels = levels

    def refine(self, level: Level, field, *carried):
        """The field of a level, from the one that it starts with, and what the next level is to have besides.

        Args:
            level: the level.
            field: (2, P, H, W), P = N L pairs, x and y in pixels.
            carried: what the coarser level returned besides, each (2, P, H, W), enlarged; nothing at the coarsest one.

        Returns:
            A sequence of (2, P, H, W): the field, and what is to be carried.
        """
        raise NotImplementedError

    def prepare(self, images):
        """What is to be seen of images (N * (L + 1), H, W)."""
        return images

    def call(self, frames):
        _check(frames.shape)
        images = grey(frames)
        frames_each, height, width = images.shape[1:]
        pyramid = [self.prepare(ops.reshape(images, (-1, height, width)))]
        while len(pyramid) < self.levels and min(pyramid[-1].shape[1:]) >= 2 * _SMALLEST:
            pyramid.append(halve(pyramid[-1]))
        length, field = frames_each - 1, None
        for number, images in reversed(list(enumerate(pyramid))):
            level = Level(number, length, images, *derivatives(images))
            h, w = images.shape[1:]
            if field is None:
                still = ops.zeros_like(level.first(images))
                field, carried = ops.stack([still, still]), []
            else:
                field, carried = 2.0 * enlarge(field, h, w), [enlarge(planes, h, w) for planes in carried]
            field, *carried = self._refine_by_parts(level, field, *carried)
            field = ops.clip(field, -max(h, w), max(h, w))
        fields = ops.reshape(field, (2, -1, length, height, width))
        return ops.reshape(ops.transpose(fields, (1, 3, 4, 2, 0)), (-1, height, width, 2 * length))

    def _refine_by_parts(self, level, *planes):
        """`refine`, a few pairs at a time where the level is large.

        Results are the same. A few pairs stay in a core's cache, and parts that do not wait for each other keep two
        threads busy with operations that are too short to be shared out.
        """
        length, parts = level.length, min(level.length, _PARTS.get(level.number, 1))
        if parts == 1:
            return self.refine(level, *planes)
        height, width = level.images.shape[1:]
        planes, refined = [ops.reshape(each, (2, -1, length, height, width)) for each in planes], []
        for part in range(parts):
            begin, end = part * length // parts, (part + 1) * length // parts
            own = (ops.reshape(each[:, :, begin:end], (2, -1, height, width)) for each in planes)
            found = self.refine(level.pairs(begin, end), *own)
            refined.append([ops.reshape(each, (2, -1, end - begin, height, width)) for each in found])
        return [
            ops.reshape(ops.concatenate(pieces, axis=2), (2, -1, height, width))
            for pieces in zip(*refined, strict=True)
        ]

    def compute_output_shape(self, shape):
        _check(shape)
        return (shape[0], shape[2], shape[3], 2 * (shape[1] - 1))

    def compute_output_spec(self, frames):
        return keras.KerasTensor(self.compute_output_shape(frames.shape), dtype="float32")

    def get_config(self):
        config = {**super().get_config(), "levels": self.levels}
        config.pop("autocast", None)
        return config


def _check(shape):
    if len(shape) not in (4, 5) or (len(shape) == 5 and shape[4] != 3):
        raise UserError(f"Frames must be (N, L + 1, H, W) or RGB (N, L + 1, H, W, 3). Received: {tuple(shape)}.")
    if shape[1] is None or shape[1] < 2:
        raise UserError(f"Flow needs snippets of at least two frames. Received: {tuple(shape)}.")
