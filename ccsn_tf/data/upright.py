"""Frames of a video as a player shows them: upright, in square pixels, in RGB."""

from __future__ import annotations

import av
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import Interpolation, VideoReformatter

from ccsn_tf.data.container import Orientation, stretched_width


def scaled_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """(width, height) with the short side brought down to `short_side`; smaller frames keep their size."""
    scale = min(1.0, short_side / min(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


class Upright:
    """What makes the frames of a stream upright, which its first frame shows; the next ones must fit it.

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

    @property
    def shown(self) -> tuple[int, int]:
        """Width and height upright and in square pixels."""
        return self.stretched[:: -1 if self._orientation.transpose else 1]

    def fits(self, frame: av.VideoFrame) -> bool:
        """Whether a frame has the size of the first one."""
        return (frame.width, frame.height) == self._size

    def convert(self, frame: av.VideoFrame, short_side: int) -> np.ndarray:
        """The frame upright, in square pixels and scaled down by averaging, uint8 RGB (H, W, 3).

        Raises:
            av.FFmpegError, ValueError: FFmpeg cannot convert it.
        """
        width, height = scaled_size(*self.stretched, short_side)
        converted = self._reformatter.reformat(
            frame, width, height, "rgb24", interpolation=Interpolation.AREA, threads=1
        )
        return self._orientation.apply(converted.to_ndarray())


def _orientation(frame) -> Orientation:
    try:
        return Orientation.of_matrix(np.frombuffer(frame.side_data[Type.DISPLAYMATRIX], np.int32))
    except KeyError:
        return Orientation()
    except ValueError:  # other side data are of a type that PyAV does not know: it gives the angle alone
        return Orientation.of_rotation(frame.rotation)
