"""Video files to RGB frames, through FFmpeg (PyAV)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import av
import numpy as np

from ccsn_tf.errors import UserError

# A container may declare a frame or two more than it holds (an encoder's delayed last frame); more is a truncated file.
_TOLERATED_LOSS = 2


class VideoError(UserError):
    """A video that cannot be used; the message names the file and says why."""


def scaled_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """(width, height) with the short side brought down to `short_side`; smaller frames keep their size."""
    scale = min(1.0, short_side / min(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def iter_frames(path: str, short_side: int, wanted: Sequence[int] | None = None) -> Iterator[np.ndarray]:
    """Yields frames in order as uint8 RGB arrays (H, W, 3).

    Args:
        path: a video file in any format that FFmpeg reads.
        short_side: frames whose short side is longer are scaled down to it, in pixels.
        wanted: sorted frame indices, from 0; only these are converted and yielded. Default: every frame.

    Raises:
        VideoError: the file is missing, unreadable, without a video stream, damaged, or shorter than it declares.
    """
    last = None if wanted is None else wanted[-1]
    chosen = None if wanted is None else frozenset(wanted)
    with _open(path) as (container, stream):
        declared, size, index = stream.frames, None, -1
        try:
            for index, frame in enumerate(container.decode(stream)):
                if chosen is None or index in chosen:
                    size = size or scaled_size(frame.width, frame.height, short_side)
                    yield frame.to_ndarray(format="rgb24", width=size[0], height=size[1], interpolation="AREA")
                if index == last:
                    return
        except av.FFmpegError as error:
            raise VideoError(f"{path} is damaged after frame {index + 1} ({error.strerror}).") from None
        count = index + 1
        if count == 0:
            raise VideoError(f"{path} holds no frame.")
        if declared - count > _TOLERATED_LOSS:
            raise VideoError(f"{path} is truncated: {count} of {declared} frames could be decoded.")
        if last is not None:
            raise VideoError(f"{path} ends after {count} frames, before frame {last + 1}.")


def count_frames(path: str) -> int:
    """The number of video packets, which is the number of frames, without decoding any.

    Raises:
        VideoError: as `iter_frames`.
    """
    with _open(path) as (container, stream):
        try:
            count = sum(1 for packet in container.demux(stream) if packet.size)
        except av.FFmpegError as error:
            raise VideoError(f"{path} is damaged ({error.strerror}).") from None
    if count == 0:
        raise VideoError(f"{path} holds no frame.")
    return count


@contextlib.contextmanager
def _open(path):
    try:
        container = av.open(path)
    except FileNotFoundError:
        raise VideoError(f"{path} does not exist.") from None
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{path} cannot be read as a video ({error.strerror}).") from None
    with container:
        if not container.streams.video:
            raise VideoError(f"{path} has no video stream.")
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # processes, not threads, fill the cores
        yield container, stream
