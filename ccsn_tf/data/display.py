"""How a player shows a stored frame: the shape of its pixels, and which way up it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

# Encoders round the aspect of scaled videos: UCF101's copies say 4096:4083. The standards' next to square is 16:15.
_SQUARE = 0.01


def scaled_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """(width, height) with the short side brought down to `short_side`; smaller frames keep their size."""
    scale = min(1.0, short_side / min(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def stretched_width(width: int, pixel_aspect: Fraction | None) -> int:
    """The width that `width` pixels of this aspect (width:height) have in square ones.

    As players do, the height is kept. Pixels of unknown aspect, or within 1 % of square, are taken for square.
    """
    if not pixel_aspect or pixel_aspect <= 0 or abs(pixel_aspect - 1) <= _SQUARE:
        return width
    return max(1, round(width * pixel_aspect))


@dataclasses.dataclass(frozen=True)
class Orientation:
    """What makes a stored frame upright: transpose it or not, then mirror it left to right, then top to bottom."""

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    @classmethod
    def of_matrix(cls, matrix: Sequence[int]) -> Orientation:
        """Reads FFmpeg's display matrix: 9 integers by rows; (x, y) is shown at (a x + c y, b x + d y).

        All eight orientations that telephones and cameras write are told apart. Other angles, which players disagree
        about, are taken for the nearest of these.
        """
        a, b, _, c, d = (int(entry) for entry in matrix[:5])
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    @classmethod
    def of_rotation(cls, degrees: float) -> Orientation:
        """That of a frame to be turned counter-clockwise."""
        turns = round(degrees / 90) % 4
        return (cls(), cls(True, False, True), cls(False, True, True), cls(True, True, False))[turns]

    def apply(self, image: np.ndarray) -> np.ndarray:
        """The image (H, W, C) upright, contiguous in memory; the same array where nothing has to be done."""
        if self.transpose:
            image = image.transpose(1, 0, 2)
        if self.mirror_x:
            image = image[:, ::-1]
        if self.mirror_y:
            image = image[::-1]
        return np.ascontiguousarray(image)
