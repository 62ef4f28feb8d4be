"""Frames of a video as a player shows them: whole pictures, upright, in square pixels, in RGB of 8 bits."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

import av
import cv2
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import ColorTrc, Interpolation, VideoReformatter

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


class Upright:
    """What makes the frames of a stream upright, which its first frame shows; others are scaled to its size.

    Args:
        frame: the first one.
        stream: its stream, open.

    Attributes:
        stretched: width and height of the stored frame in square pixels.
    """

    def __init__(self, frame: av.VideoFrame, stream: av.VideoStream):
        self._size = frame.width, frame.height
        self._orientation = _orientation(frame)
        # Set by the container or, where it says nothing, by the decoder.
        aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
        self.stretched = stretched_width(frame.width, aspect), frame.height
        # One for all frames: each new one would start threads. Processes, not threads, fill the cores.
        self._reformatter = VideoReformatter()

    def fits(self, frame: av.VideoFrame) -> bool:
        """Whether a frame has the size of the first one."""
        return (frame.width, frame.height) == self._size

    def convert(self, frame: av.VideoFrame, short_side: int) -> np.ndarray:
        """The frame upright, in square pixels and scaled down by averaging, uint8 RGB (H, W, 3).

        Raises:
            av.FFmpegError, ValueError: FFmpeg cannot convert it.
        """
        width, height = scaled_size(*self.stretched, short_side)
        is_hdr = frame.color_trc in _HDR
        converted = self._reformatter.reformat(
            frame, width, height, "rgb48le" if is_hdr else "rgb24", interpolation=Interpolation.AREA, threads=1
        )
        image = converted.to_ndarray()
        return self._orientation.apply(tone_mapped(image, frame.color_trc) if is_hdr else image)


def deinterlaced(frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """The frames, as many and at their times; those that hold two fields with the first of these alone, filled up.

    By FFmpeg's bwdif, from the first interlaced frame on; frames between that are not pass unchanged.

    Raises:
        av.FFmpegError: from `frames`, or FFmpeg cannot filter them.
    """
    graph = form = None
    for frame in frames:
        if graph and form != (frame.width, frame.height, frame.format.name):
            yield from _filtered(graph, None)
            graph = None
        if graph is None and frame.interlaced_frame:
            form, graph = (frame.width, frame.height, frame.format.name), av.filter.Graph()
            graph.threads = 1
            size = {"width": frame.width, "height": frame.height}
            source = graph.add_buffer(**size, format=frame.format, time_base=frame.time_base)
            graph.link_nodes(source, graph.add("bwdif", "send_frame:auto:interlaced"), graph.add("buffersink"))
            graph.configure()
        yield from (frame,) if graph is None else _filtered(graph, frame)
    if graph:
        yield from _filtered(graph, None)


def _filtered(graph, frame):
    """What comes out of a graph that a frame is put into; None ends it."""
    graph.vpush(frame)
    while True:
        try:
            yield graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return


_PQ, _HLG = int(ColorTrc.SMPTE2084), int(ColorTrc.ARIB_STD_B67)
_HDR = (_PQ, _HLG)
_PEAK, _WHITE = 1000.0, 203.0  # cd/m2: of HDR as it is graded; of SDR, HDR's white of paper (BT.2408)
_LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)  # BT.2020
_TO_BT709 = np.array(  # linear RGB of BT.2020 (BT.2087)
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)


def tone_mapped(image: np.ndarray, transfer: int) -> np.ndarray:
    """HDR to SDR, as a screen of BT.709 that shows 203 cd/m2 at most would show it.

    BT.2100's display light of a screen of 1,000 cd/m2; BT.2390's curve per channel, which leaves what is below 94 cd/m2
    and brings 1,000 down to 203; primaries of BT.709; BT.1886's inverse (a power of 1/2.4).

    Args:
        image: uint16 (H, W, 3), R'G'B' of BT.2020.
        transfer: FFmpeg's number of its transfer function, PQ's or HLG's.

    Returns:
        uint8 (H, W, 3), R'G'B' of BT.709.
    """
    light_of_code, mapped, encoded = _tables()
    light = light_of_code[transfer][image]
    if transfer == _HLG:  # the light of the scene so far
        light *= cv2.pow(light @ _LUMINANCE, 0.2)[..., None]
    return _looked_up(encoded, cv2.transform(_looked_up(mapped, light), _TO_BT709))


def _looked_up(table, light):
    """The table's values of light from 0 to 1: its rows are even in the root of it, as eyes are, nearly."""
    rows = cv2.sqrt(np.clip(light, 0, 1)) * (len(table) - 1)
    return table[np.rint(rows, out=rows).astype(np.uint16)]


@functools.cache
def _tables():
    """Light of 16-bit codes, by transfer; light (1 is the peak) tone-mapped (1 is SDR's white); that as 8-bit codes."""
    code, even = np.linspace(0, 1, 2**16), np.linspace(0, 1, 2**14) ** 2
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    light = {_PQ: np.minimum(_pq_light(code) / _PEAK, 1), _HLG: scene}
    # BT.2390-11, 5.4.1: a Hermite spline from the knee on, in PQ's codes as a share of the peak's.
    share, most = _pq_code(even * _PEAK) / _pq_code(_PEAK), _pq_code(_WHITE) / _pq_code(_PEAK)
    knee = 1.5 * most - 0.5
    t = (share - knee) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * most
    mapped = _pq_light(np.where(share < knee, share, spline) * _pq_code(_PEAK)) / _WHITE
    encoded = np.rint(255 * even ** (1 / 2.4)).astype(np.uint8)
    return {name: table.astype(np.float32) for name, table in light.items()}, mapped.astype(np.float32), encoded


# BT.2100, table 4.
_M1, _M2 = 2610 / 16384, 2523 / 32
_C1, _C2, _C3 = 3424 / 4096, 2413 / 128, 2392 / 128


def _pq_light(code):
    root = code ** (1 / _M2)
    return 10_000 * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)


def _pq_code(light):
    root = (light / 10_000) ** _M1
    return ((_C1 + _C2 * root) / (1 + _C3 * root)) ** _M2


def _orientation(frame) -> Orientation:
    try:
        return Orientation.of_matrix(np.frombuffer(frame.side_data[Type.DISPLAYMATRIX], np.int32))
    except KeyError:
        return Orientation()
    except ValueError:  # other side data are of a type that PyAV does not know: it gives the angle alone
        return Orientation.of_rotation(frame.rotation)
