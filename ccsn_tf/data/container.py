"""What a video file says of itself beside its frames: its length, the shape of its pixels, and which way up it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

# FFmpeg's names of the formats that hold frames themselves: no playlists, which name other files (concat, hls, dash,
# sdp), no patterns of picture files (image2), no text that it would draw, no devices. Then streams without a container.
FORMATS = (
    "mov,matroska,avi,flv,live_flv,asf,mpeg,mpegts,mxf,gxf,ogg,nut,rm,wtv,dv,gif,apng,ivf,yuv4mpegpipe,swf,"
    "nsv,roq,smk,bink,flic,film_cpk,4xm,mtv,vividas,"
    "h261,h263,h264,hevc,vvc,m4v,mpegvideo,mjpeg,mjpeg_2000,vc1,vc1test,dirac,cavsvideo,avs2,avs3,av1,obu,"
    "dnxhd"
)

# Encoders round the aspect of scaled videos: UCF101's copies say 4096:4083. The standards' next to square is 16:15.
_SQUARE = 0.01

_MATROSKA, _SEGMENT = bytes.fromhex("1A45DFA3"), bytes.fromhex("18538067")
_ENOUGH = 4096  # bytes: the header is some 40 long


def stretched_width(width: int, pixel_aspect: Fraction | None) -> int:
    """The width that `width` pixels of this aspect (width:height) have in square ones.

    As players do, the height is kept. Pixels of unknown aspect, or within 1 % of square, are taken for square.
    """
    if not pixel_aspect or pixel_aspect <= 0 or abs(pixel_aspect - 1) <= _SQUARE:
        return width
    return max(1, round(width * pixel_aspect))


class Orientation(NamedTuple):
    """What makes a stored frame upright: transpose it or not, then mirror it left to right, then top to bottom."""

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    @classmethod
    def of_matrix(cls, matrix: Sequence[float]) -> Orientation:
        """Reads FFmpeg's display matrix: 9 numbers by rows; (x, y) is shown at (a x + c y, b x + d y).

        All eight orientations that telephones and cameras write are told apart. Other angles, which players disagree
        about, are taken for the nearest of these.
        """
        a, b, _, c, d = map(float, matrix[:5])
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    @classmethod
    def of_rotation(cls, degrees: float) -> Orientation:
        """That of a frame to be turned counter-clockwise."""
        across, down = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        return cls.of_matrix((across, -down, 0, down, across))

    def apply(self, image: np.ndarray) -> np.ndarray:
        """The image (H, W, C) upright, contiguous in memory; not copied where nothing has to be done."""
        image = image.transpose(1, 0, 2) if self.transpose else image
        return np.ascontiguousarray(image[:: -1 if self.mirror_y else 1, :: -1 if self.mirror_x else 1])


def announced_bytes(path: str) -> int | None:
    """The length of a Matroska or WebM file by its own account, in bytes: it has no table that shows that it was cut.

    None where it does not say, as live recordings do not, or where it is no such file (RFC 8794 and RFC 9559: a header,
    then one segment).

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(_ENOUGH)
    end = 0
    for mark in (_MATROSKA, _SEGMENT):
        if end is None or head[end : end + len(mark)] != mark:
            return None
        start, size = _size(head, end + len(mark))
        end = None if size is None else start + size
    return end


def _size(head, place):
    """Where an element's content begins and how long it is: a number whose first byte says how many bytes it has."""
    first = head[place] if place < len(head) else 0
    length = 9 - first.bit_length()
    value = int.from_bytes(head[place : place + length], "big") & ((1 << 7 * length) - 1)
    if length > 8 or value == (1 << 7 * length) - 1:  # all ones: unknown
        return place + length, None
    return place + length, value
