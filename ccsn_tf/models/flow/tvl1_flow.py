"""TV-L1 optical flow as a layer."""

from __future__ import annotations

import keras
from keras import ops

from ccsn_tf.models.flow.image_ops import Warper, divergence, forward_differences, median, smooth, without_last
from ccsn_tf.models.flow.iterating import compiled, repeat
from ccsn_tf.models.flow.pyramidal_flow import Level, PyramidalFlow

_FLAT = 1e-4  # squared grey values a pixel: no division by zero where an image is flat


@compiled
def iterate(images, x, y, length, first, field, dual_x, dual_y, bound, unit, step, times):
    """`times` iterations of the three equations of `TVL1Flow` for P pairs of frames, from one linearisation.

    Args:
        images: (N (L + 1), H, W): those of N snippets, P = N L.
        x: their x-derivative, likewise.
        y: their y-derivative, likewise.
        length: L.
        first: (P, H, W): the first image of each pair.
        field: (2, P, H, W), in `unit` pixels: in units of theta / tau, the rate of the dual step is one.
        dual_x: (2, P, H, W); 0 in the last column.
        dual_y: (2, P, H, W); 0 in the last row.
        bound: lambda theta.
        unit: theta / tau.
        step: tau.
        times: a whole number.

    Returns:
        `field`, `dual_x`, `dual_y`.
    """
    warped = Warper([images, x, y], length)(unit * field)
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
class TVL1Flow(PyramidalFlow):
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

    Where the image is flat the data have no say, and u is smooth. Frames that are equal give exactly zero.

    Args:
        levels: of the pyramid; see `PyramidalFlow`.
        warps: at each level: one number for all, or one a level, the finest first; the last one serves those beyond.
        iterations: inner iterations a warp; likewise.
        attachment: lambda, weight of the data, for grey values 0-255; likewise.
        tightness: theta, in pixels squared; likewise.
        step: tau, step of the dual fields; at most 0.25 is stable; likewise.
        median: times that the field is filtered by 3x3 medians after each warp.
        smooth: see the images through (1, 3, 1) / 5 along both axes.
        carry: keep the dual fields from level to level; else they start at zero at each, as in the papers.

    Call arguments, returns, raises: see `PyramidalFlow`.

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
        super().__init__(levels, **kwargs)
        self.warps, self.iterations = _by_level(warps), _by_level(iterations)
        self.attachment, self.tightness, self.step = _by_level(attachment), _by_level(tightness), _by_level(step)
        self.median, self.smooth, self.carry = median, smooth, carry

    def prepare(self, images):
        return smooth(images) if self.smooth else images

    def refine(self, level: Level, field, *duals):
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
        names = ("warps", "iterations", "attachment", "tightness", "step", "median", "smooth", "carry")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _by_level(value):
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _at(values, number):
    return values[min(number, len(values) - 1)]
