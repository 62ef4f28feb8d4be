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
    """Yields frames in order and upright, as uint8 RGB arrays (H, W, 3).

    Args:
        path: a video file in any format that FFmpeg reads.
        short_side: frames whose short side is longer are scaled down to it, in pixels.
        wanted: sorted frame indices, from 0; only these are converted and yielded, each once. Default:
            every frame.

    Raises:
        VideoError: the file is missing, unreadable, without a video stream, damaged, shorter than it declares, or
            changes its frame size.
    """
    last = None if wanted is None else wanted[-1]
    chosen = None if wanted is None else frozenset(wanted)
    first, index = None, -1
    for index, frame in enumerate(_decoded(path)):
        first = first or frame
        if (frame.width, frame.height) != (first.width, first.height):
            raise VideoError(f"{path} changes its frame size at frame {index}: re-encode it to one size.")
        if chosen is None or index in chosen:
            yield _rgb(frame, short_side)
        if index == last:
            return
    if last is not None:
        raise VideoError(f"{path} ends after {index + 1} frames, before frame {last + 1}.")


def count_frames(path: str) -> int:
    """The number of frames that `iter_frames` yields; decodes them all, since no container is to be believed in this.

    Raises:
        VideoError: as `iter_frames`.
    """
    return sum(1 for _ in _decoded(path))


def _rgb(frame, short_side):
    width, height = scaled_size(frame.width, frame.height, short_side)
    image = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
    # Telephones store portrait as landscape with a note to turn it (degrees, counter-clockwise).
    return np.ascontiguousarray(np.rot90(image, frame.rotation // 90)) if frame.rotation else image


def _decoded(path):
    with _open(path) as (container, stream):
        count, hidden, end = 0, 0, 0.0
        try:
            for packet in container.demux(stream):
                hidden += packet.is_discard  # cut off by an MP4's edit list: declared, decoded, not shown
                for frame in packet.decode():
                    count += 1
                    end = max(end, frame.time or 0.0)
                    yield frame
        except av.FFmpegError as error:
            raise VideoError(f"{path} is damaged after frame {count} ({error.strerror}).") from None
        if count == 0:
            raise VideoError(f"{path} holds no frame.")
        declared = stream.frames - hidden
        # An AVI also declares the frames that its recorder dropped: then the last one still comes in time.
        late = stream.average_rate and end >= (declared - 1 - _TOLERATED_LOSS) / stream.average_rate
        if declared - count > _TOLERATED_LOSS and not late:
            raise VideoError(f"{path} is truncated: {count} of {declared} frames could be decoded.")


@contextlib.contextmanager
def _open(path):
    try:
        container = av.open(path)
    except FileNotFoundError:
        raise VideoError(f"{path} does not exist.") from None
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{path} cannot be read as a video ({error.strerror}).") from None
    with container:
        stream = container.streams.best("video")  # not a cover picture, if there is anything else
        if stream is None:
            raise VideoError(f"{path} has no video stream.")
        if stream.codec_context is None:
            raise VideoError(f"{path} is damaged, or in a format that this FFmpeg cannot decode.")
        stream.codec_context.thread_count = 1  # processes, not threads, fill the cores
        yield container, stream
