"""Pyramidal Lucas-Kanade optical flow as a layer."""

from __future__ import annotations

import keras
from keras import ops

from ccsn_tf.models.flow.image_ops import Warper
from ccsn_tf.models.flow.pyramidal_flow import Level, PyramidalFlow


@keras.saving.register_keras_serializable("ccsn_tf")
class LucasKanadeFlow(PyramidalFlow):
    """Dense optical flow of windows that move as one.

    Lucas and Kanade, "An iterative image registration technique with an application to stereo vision", IJCAI 1981;
    from coarse to fine with the first image's derivatives, as in Bouguet, "Pyramidal implementation of the affine
    Lucas Kanade feature tracker", 2001. Around each pixel, with g = grad I0 and means over the window,

        G = mean(g g^T) + r I
        u <- u - G^-1 mean(g (I1(x + u) - I0(x)))

    The regularisation r makes a flat window stand still where it has nothing to say. Frames that are equal give
    exactly zero.

    Args:
        levels: of the pyramid; see `PyramidalFlow`.
        iterations: at each level.
        window: side of the window, in pixels.
        regularisation: r, in squared grey values (0-255) a pixel.

    Call arguments, returns, raises: see `PyramidalFlow`.
    """

    def __init__(self, levels=3, iterations=3, window=7, regularisation=1.0, **kwargs):
        super().__init__(levels, **kwargs)
        self.iterations, self.window, self.regularisation = iterations, window, regularisation

    def refine(self, level: Level, field):
        first, look = level.first(level.images), Warper([level.images], level.length)
        x, y = level.first(level.x), level.first(level.y)
        xx, xy, yy = self._means([x * x, x * y, y * y])
        xx, yy = xx + self.regularisation, yy + self.regularisation
        determinant = xx * yy - xy * xy
        for _ in range(self.iterations):
            difference = look(field)[0] - first
            along_x, along_y = self._means([x * difference, y * difference])
            across = ops.stack([yy * along_x - xy * along_y, xx * along_y - xy * along_x])
            field = field - across / determinant
        return [field]

    def _means(self, planes):
        """Means over the window, of which parts beyond the border do not count."""
        stacked = ops.stack(planes, axis=-1)
        pooled = ops.average_pool(stacked, self.window, 1, padding="same", data_format="channels_last")
        return ops.unstack(pooled, len(planes), axis=-1)

    def get_config(self):
        names = ("iterations", "window", "regularisation")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
