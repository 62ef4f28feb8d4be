"""TV-L1 optical flow as a layer, and the 8-bit form of its fields."""

from __future__ import annotations

import dataclasses

import keras
from keras import ops

from ccsn_tf.errors import UserError
from ccsn_tf.models.flow.image_ops import (
    derivatives,
    divergence,
    enlarge,
    forward_differences,
    grey,
    halve,
    median,
    smooth,
    warp,
    without_last,
)
from ccsn_tf.models.flow.loops import compiled, repeat

_FLAT = 1e-4  # squared grey values a pixel: no division by zero where an image is flat
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


@compiled
def iterate(images, x, y, length, first, field, dual_x, dual_y, bound, unit, step, times):
    """`times` iterations of the three equations of `TVL1Flow` for P pairs of frames, from one linearisation.

    Args:
        images, x, y, length: of a `Level`: N snippets, P = N L.
        first: (P, H, W): the first image of each pair.
        field: (2, P, H, W), in `unit` pixels: in units of theta / tau, the rate of the dual step is one.
        dual_x, dual_y: (2, P, H, W); 0 in the last column and in the last row.
        bound, unit, step, times: lambda theta, theta / tau, tau, and a whole number.

    Returns:
        `field`, `dual_x`, `dual_y`.
    """
    warped = warp([images, x, y], length, unit * field)
    slope = warped[1:]
    squared = ops.sum(ops.square(slope), axis=0) + _FLAT
    pull, push = unit * slope / squared, slope / unit
    # rho(u) / |g|^2 = rest + pull . u
    rest = (warped[0] - first) / squared - ops.sum(pull * field, axis=0)

    def once(field, dual_x, dual_y):
        moved = rest + (pull[0] * field[0] + pull[1] * field[1])
        field = field - ops.minimum(ops.maximum(moved, -bound), bound) * push
        field = field + step * divergence(dual_x, dual_y)
        x, y = forward_differences(field)
        rate = ops.reciprocal(1.0 + ops.sqrt(x * x + y * y + 1e-12))
        return field, (dual_x + x) * rate, (dual_y + y) * rate

    return repeat(once, times, (field, dual_x, dual_y))


@keras.saving.register_keras_serializable("ccsn_tf")
class TVL1Flow(keras.layers.Layer):
    """Optical flow of least total variation and least absolute difference of grey values.

    Zach, Pock, Bischof, "A duality based approach for realtime TV-L1 optical flow", DAGM 2007; the numerical scheme
    is that of Sánchez Pérez, Meinhardt-Llopis, Facciolo, "TV-L1 optical flow estimation", IPOL 2013. The field
    u = (u1, u2) from image I0 to image I1 is to minimise

        sum over pixels of  |grad u1| + |grad u2| + lambda |rho(u)|
        rho(u) = I1(x + u0) + grad I1(x + u0) . (u - u0) - I0(x)

    with the difference of grey values linearised around the field u0 of the last warp. An auxiliary field v, tied to u
    by |u - v|^2 / (2 theta), splits it in two. One inner iteration is, with g = grad I1(x + u0),

        v  = u - clip(rho(u) / |g|^2, -lambda theta, lambda theta) g       (the thresholding step of the papers)
        ui = vi + theta div pi                                             i = 1, 2
        pi = (pi + tau / theta grad ui) / (1 + tau / theta |grad ui|)      grad forward, div its adjoint

    Dual fields p start at zero and are kept from warp to warp and from level to level: they say where motion is smooth,
    which is the same on both, so that the finer level need not find it again. After each warp, u is filtered by 3x3
    medians, where OpenCV takes 5x5: the mistake of a pixel does not stay. Before all, images are smoothed a little.

    Where the image is flat the data have no say, and u is smooth. Frames that are equal give exactly zero. A component
    is bounded by the longer side of the frame. Computed in float32 whatever the policy.

    Args:
        levels: most levels of the pyramid, each half as large; fewer where a side would be shorter than 8 pixels.
        warps: at each level: one number for all, or one a level, the finest first; the last one serves those beyond.
        iterations: inner iterations a warp; likewise.
        attachment: lambda, weight of the data, for grey values 0-255; likewise.
        tightness: theta, in pixels squared; likewise.
        step: tau, step of the dual fields; at most 0.25 is stable; likewise.
        median: times that the field is filtered by 3x3 medians after each warp.
        smooth: see the images through (1, 3, 1) / 5 along both axes.
        carry: keep the dual fields from level to level; else they start at zero at each, as in the papers.

    Call arguments:
        frames: uint8 or float, 0-255, (N, L + 1, H, W), or RGB (N, L + 1, H, W, 3); L >= 1.

    Returns:
        float32 (N, H, W, 2L), channels x1, y1, x2, y2, ...: field l leads from frame l to frame l + 1, in pixels.

    Raises:
        UserError: frames of another shape.

    Example:
        flow = TVL1Flow()(np.zeros((1, 6, 112, 112, 3), "uint8"))  # (1, 112, 112, 10)
    """

    def __init__(
        self,
        levels=4,
        warps=(1, 2),
        iterations=(32, 16, 20),
        attachment=0.15,
        tightness=0.3,
        step=0.25,
        median=1,
        smooth=True,
        carry=True,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.levels, self.median, self.smooth, self.carry = levels, median, smooth, carry
        self.warps, self.iterations = _by_level(warps), _by_level(iterations)
        self.attachment, self.tightness, self.step = _by_level(attachment), _by_level(tightness), _by_level(step)

    def call(self, frames):
        _check(frames.shape)
        images = grey(frames)
        frames_each, height, width = images.shape[1:]
        images = ops.reshape(images, (-1, height, width))
        pyramid = [smooth(images) if self.smooth else images]
        while len(pyramid) < self.levels and min(pyramid[-1].shape[1:]) >= 2 * _SMALLEST:
            pyramid.append(halve(pyramid[-1]))
        length, field = frames_each - 1, None
        for number, images in reversed(list(enumerate(pyramid))):
            level = Level(number, length, images, *derivatives(images))  # made once a frame, for both of its pairs
            h, w = images.shape[1:]
            if field is None:
                still = ops.zeros_like(level.first(images))
                field, duals = ops.stack([still, still]), []
            else:
                field, duals = 2.0 * enlarge(field, h, w), [enlarge(planes, h, w) for planes in duals]
            field, *duals = self._refine_by_parts(level, field, *duals)
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

    def refine(self, level: Level, field, *duals):
        """The field of a level, from the one that it starts with, and the dual fields that the next level is to have.

        Args:
            level: the level.
            field: (2, P, H, W), P = N L pairs, x and y in pixels.
            duals: those of the coarser level, enlarged, each (2, P, H, W); none where they start at zero.

        Returns:
            A list of (2, P, H, W): the field, and with `carry` the dual fields.
        """
        attachment, tightness, step = (
            _at(values, level.number) for values in (self.attachment, self.tightness, self.step)
        )
        seen = (level.images, level.x, level.y, level.length, level.first(level.images))
        # In units of theta / tau pixels, the rate of the dual step is one.
        unit = tightness / step
        field = field / unit
        duals = without_last(*duals) if duals else (ops.zeros_like(field), ops.zeros_like(field))
        for _ in range(_at(self.warps, level.number)):
            settings = (attachment * tightness, unit, step, _at(self.iterations, level.number))
            field, *duals = iterate(*seen, field, *duals, *settings)
            for _ in range(self.median):
                field = median(field)
        return [unit * field, *(duals if self.carry else ())]

    def get_config(self):
        names = ("levels", "warps", "iterations", "attachment", "tightness", "step", "median", "smooth", "carry")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _by_level(value):
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _at(values, number):
    return values[min(number, len(values) - 1)]


def _check(shape):
    if len(shape) not in (4, 5) or (len(shape) == 5 and shape[4] != 3):
        raise UserError(f"Frames must be (N, L + 1, H, W) or RGB (N, L + 1, H, W, 3). Received: {tuple(shape)}.")
    if shape[1] is None or shape[1] < 2:
        raise UserError(f"Flow needs snippets of at least two frames. Received: {tuple(shape)}.")


@keras.saving.register_keras_serializable("ccsn_tf")
class QuantizedFlow(keras.layers.Layer):
    """round(255 (clip(s v, -b, b) + b) / (2 b)) of a flow v in pixels: float32, whole numbers from 0 to 255.

    The values are those that records would hold. The gradient passes the rounding as if it were not there.

    Args:
        bound: b, in pixels of the stored size.
        scale: s, pixels of the stored size in one of the field.
    """

    def __init__(self, bound, scale=1.0, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.bound, self.scale = bound, scale

    def call(self, flow):
        pixels = ops.clip(self.scale * ops.cast(flow, "float32"), -self.bound, self.bound)
        values = (pixels + self.bound) * (255.0 / (2.0 * self.bound))
        return values + ops.stop_gradient(ops.round(values) - values)

    def compute_output_spec(self, flow):
        return keras.KerasTensor(flow.shape, dtype="float32")

    def get_config(self):
        return {**super().get_config(), "bound": self.bound, "scale": self.scale}
