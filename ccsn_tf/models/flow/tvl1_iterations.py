"""The inner iterations of TV-L1 between two warps."""

from __future__ import annotations

from keras import ops

from ccsn_tf.models.flow.image_ops import Warper, divergence, forward_differences
from ccsn_tf.models.flow.iterating import compiled, repeat

_FLAT = 1e-4  # squared grey values a pixel: no division by zero where an image is flat


@compiled
def iterate(images, x, y, length, first, field, dual_x, dual_y, bound, unit, step, difference, adjoint, times):
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
        difference: two taps of the forward difference; None: (-1, 1).
        adjoint: those of the divergence, likewise.
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
        field = field + step * divergence(dual_x, dual_y, adjoint)
        x, y = forward_differences(field, difference)
        rate = ops.reciprocal(1.0 + ops.sqrt(x * x + y * y + 1e-12))
        return field, (dual_x + x) * rate, (dual_y + y) * rate

    return repeat(once, times, (field, dual_x, dual_y))
