"""TV-L1 optical flow as a layer."""

from __future__ import annotations

import keras
from keras import ops

from ccsn_tf.models.flow.image_ops import CENTRAL, median, smooth, without_last
from ccsn_tf.models.flow.pyramidal_flow import Level, PyramidalFlow
from ccsn_tf.models.flow.tvl1_iterations import iterate


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
        learnable: train lambda, theta, tau of each level, the kernel of the image's derivatives and those of the
            field's differences, in the manner of TVNet (Fan et al., CVPR 2018) and representation flow (Piergiovanni
            and Ryoo, CVPR 2019). Weights are departures from the values above, logarithmic for the first three, and
            start at zero: weight decay draws towards the classical method. A flat image keeps derivatives of zero.

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
        learnable=False,
        **kwargs,
    ):
        super().__init__(levels, **kwargs)
        self.warps, self.iterations = _by_level(warps), _by_level(iterations)
        self.attachment, self.tightness, self.step = _by_level(attachment), _by_level(tightness), _by_level(step)
        self.median, self.smooth, self.carry, self.learnable = median, smooth, carry, learnable

    def build(self, _=None):
        if not self.learnable:
            return
        sizes = {"attachment": self.levels, "tightness": self.levels, "step": self.levels}
        sizes |= {"derivative": 5, "difference": 2, "divergence": 2}
        # Not autocast: mixed precision would round them before they are used in float32.
        self.departures = {
            name: self.add_weight(
                shape=(size,), initializer="zeros", dtype="float32", autocast=False, name=f"{name}_departure"
            )
            for name, size in sizes.items()
        }

    def prepare(self, images):
        return smooth(images) if self.smooth else images

    def kernel(self):
        if not self.learnable:
            return None
        # Without their mean: however bright a flat image is, it has no derivative.
        departures = self.departures["derivative"] - ops.mean(self.departures["derivative"])
        return departures + ops.array(CENTRAL, "float32")

    def refine(self, level: Level, field, *duals):
        attachment, tightness, step = (self._value(name, level.number) for name in ("attachment", "tightness", "step"))
        taps = [self._pair(name) for name in ("difference", "divergence")]
        seen = (level.images, level.x, level.y, level.length, level.first(level.images))
        # In units of theta / tau pixels, the rate of the dual step is one.
        unit = tightness / step
        field = field / unit
        duals = without_last(*duals) if duals else (ops.zeros_like(field), ops.zeros_like(field))
        for _ in range(_at(self.warps, level.number)):
            settings = (attachment * tightness, unit, step, *taps, _at(self.iterations, level.number))
            field, *duals = iterate(*seen, field, *duals, *settings)
            for _ in range(self.median):
                field = median(field)
        return [unit * field, *(duals if self.carry else ())]

    def _value(self, name, number):
        value = _at(getattr(self, name), number)
        return value * ops.exp(self.departures[name][number]) if self.learnable else value

    def _pair(self, name):
        """The two taps of a difference; None: (-1, 1)."""
        return self.departures[name] + ops.array((-1.0, 1.0), "float32") if self.learnable else None

    def method(self):
        """The arguments that say what is computed before anything is trained: all but `learnable`."""
        names = ("levels", "warps", "iterations", "attachment", "tightness", "step", "median", "smooth", "carry")
        return {name: getattr(self, name) for name in names}

    def get_config(self):
        return {**super().get_config(), **self.method(), "learnable": self.learnable}


def _by_level(value):
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _at(values, number):
    return values[min(number, len(values) - 1)]
