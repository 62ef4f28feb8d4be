"""Video files to RGB frames as a player shows them, through FFmpeg (PyAV)."""

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence

import av
import numpy as np
from av.stream import Disposition

from ccsn_tf.data.upright import Upright, deinterlaced
from ccsn_tf.errors import UserError

# A container may declare a frame or two more than it holds (an encoder's delayed last frame); more is a truncated file.
_TOLERATED_LOSS = 2

# Beyond these a header lies, or the frame cannot be stored: flow fields come two in a JPEG, which ends at 65,500.
MAX_PIXELS = 8192 * 8192
_MAX_SIDE = 32_000

# FFmpeg's names of the formats that hold frames themselves: no playlists, which name other files (concat, hls, dash,
# sdp), no patterns of picture files (image2), no text that it would draw, no devices. Then streams without a container.
_FORMATS = (
    "mov,matroska,avi,flv,live_flv,asf,mpeg,mpegts,mxf,gxf,ogg,nut,rm,wtv,dv,gif,apng,ivf,yuv4mpegpipe,swf,"
    "nsv,roq,smk,bink,flic,film_cpk,4xm,mtv,vividas,"
    "h261,h263,h264,hevc,vvc,m4v,mpegvideo,mjpeg,mjpeg_2000,vc1,vc1test,dirac,cavsvideo,avs2,avs3,av1,obu,"
    "dnxhd"
)

# FFmpeg is to open no other file or address, and to refuse a size before it makes room for it. The whitelist of
# protocols alone leaves a file "ffconcat version 1.0, file other.mp4" named a.mp4 with the frames of its neighbour.
_OF_DECODER = {"max_pixels": str(MAX_PIXELS)}
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "file", **_OF_DECODER}

_MATROSKA, _SEGMENT = bytes.fromhex("1A45DFA3"), bytes.fromhex("18538067")
_ENOUGH = 4096  # bytes: the header is some 40 long

_AGAIN = "get it again, or leave it out."


class VideoError(UserError):
    """A video that cannot be used; the message names the file and says why."""


def is_video(path: str) -> bool:
    """Whether a file is a video, whatever its name: a container that is read, with pictures in it, more than one."""
    try:
        with _open(path) as video:
            return video.declared != 1  # as a HEIC photograph has
    except VideoError:
        return False


def iter_frames(path: str, short_side: int, wanted: Sequence[int] | None = None) -> Iterator[np.ndarray]:
    """Yields frames in order, upright and in square pixels, as uint8 RGB arrays (H, W, 3).

    Rotated, mirrored, anamorphic, interlaced and HDR videos come as a player shows them, in the colour space that the
    file names (as in FFmpeg, BT.601 where it names none), all in the first frame's size. Frames of variable rate come
    one by one, whatever their times; transparency is dropped.

    Args:
        path: a video file in any format that FFmpeg reads.
        short_side: frames whose short side is longer are scaled down to it by averaging, in pixels.
        wanted: sorted frame indices, from 0; only these are converted and yielded, each once. Default:
            every frame.

    Raises:
        VideoError: the file is missing, unreadable, without a video stream, damaged, shorter than it declares, or too
            large to be decoded.
    """
    chosen, count = None if wanted is None else frozenset(wanted), 0
    with _open(path) as video:
        for index, frame in enumerate(video.pictures()):
            if chosen is None or index in chosen:
                yield video.convert(frame, short_side)
            if chosen is not None and index == wanted[-1]:
                return
            count = index + 1
    if chosen is not None:
        raise VideoError(f"{path} ends after {count} frames, before frame {wanted[-1] + 1}.")


def iter_timed(path: str, short_side: int) -> Iterator[tuple[float, np.ndarray]]:
    """Yields the frames of `iter_frames`, each with its time in seconds.

    Times are those of the file, as players show them (`time_origin`): a picture that begins late does so here. A frame
    without a time comes one frame after the one before.

    Raises:
        VideoError: as `iter_frames`.
    """
    with _open(path) as video:
        for time, frame in video.timed():
            yield time, video.convert(frame, short_side)


def time_origin(container) -> float:
    """The second that counts as 0 in an open container: its first, if it cuts its stamps out of an endless count, as
    MPEG transport streams do; files as MP4 and Matroska begin at 0 whenever their picture does."""
    endless = container.format.flags & av.format.Flags.ts_discont.value
    return (container.start_time or 0) / av.time_base if endless else 0.0


def duration(path: str) -> float | None:
    """When a video's last frame ends, in seconds, if its container says so.

    Raises:
        VideoError: the file cannot be opened as a video.
    """
    with _open(path) as video:
        begun, length = video.container.start_time or 0, video.container.duration
        return (begun + length) / av.time_base - time_origin(video.container) if length else None


def decode_whole(path: str, beat: Callable[[], None] = lambda: None) -> tuple[int, int]:
    """Decodes every frame of a video and keeps none, since no container is to be believed in how many it holds.

    Args:
        path: of the video.
        beat: called for each frame.

    Returns:
        How many frames there are, and in how many of them the decoder painted over damage, as a player does.

    Raises:
        VideoError: as `iter_frames`.
    """
    count = concealed = 0
    with _open(path) as video:
        for frame in video.frames():
            count += 1
            concealed += frame.is_corrupt
            beat()
    return count, concealed


class _Video:
    """An open video: its frames as decoded, and what makes them upright, known from the first frame on."""

    def __init__(self, path: str, container, stream):
        self._path, self.container, self._stream = path, container, stream
        self._upright, self._end, self._count = None, 0.0, 0

    @property
    def declared(self) -> int:
        """How many frames the container says will be shown, 0 if it does not say."""
        if "mov" not in self.container.format.name.split(","):
            return self._stream.frames
        # MP4 and MOV: without those that an edit list hides, of which some must be decoded all the same.
        return sum(not entry.is_discard for entry in self._stream.index_entries)

    def frames(self) -> Iterator[av.VideoFrame]:
        """Yields the frames as they are stored."""
        return self._checked(self._decoded())

    def pictures(self) -> Iterator[av.VideoFrame]:
        """Yields the frames, of interlaced ones their first field (see `deinterlaced`)."""
        return self._checked(deinterlaced(self._decoded()))

    def timed(self) -> Iterator[tuple[float, av.VideoFrame]]:
        """Yields the pictures, each with its time (see `iter_timed`)."""
        start, step = time_origin(self.container), float(1 / (self._stream.average_rate or 25))
        time = -step
        for frame in self.pictures():
            time = time + step if frame.time is None else max(time, frame.time - start)
            yield time, frame

    def _checked(self, frames):
        """These frames, of which there must be as many as the container declares."""
        try:
            yield from frames
        except VideoError:
            raise
        except (av.FFmpegError, ValueError) as error:
            raise VideoError(
                f"{self._path} is damaged after frame {self._count} ({_reason(error)}): {_AGAIN}"
            ) from None
        if self._count == 0:
            raise VideoError(f"{self._path} holds no frame: {_AGAIN}")
        declared = self.declared
        if declared - self._count > _TOLERATED_LOSS and not self._came_late(declared):
            raise VideoError(f"{self._path} is truncated, {self._count} of {declared} frames are there: {_AGAIN}")

    def _decoded(self):
        for packet in self.container.demux(self._stream):
            for frame in packet.decode():
                if self._upright is None:
                    self._look_at(frame)
                self._count += 1
                self._end = max(self._end, frame.time or 0.0)
                yield frame

    def _came_late(self, declared):
        """Whether the last frame came as late as it should: an AVI also declares those that its recorder dropped."""
        rate = self._stream.average_rate
        return rate and self._end >= (declared - 1 - _TOLERATED_LOSS) / rate

    def convert(self, frame: av.VideoFrame, short_side: int) -> np.ndarray:
        """The frame upright, in square pixels and scaled down, uint8 RGB (H, W, 3)."""
        try:
            return self._upright.convert(frame, short_side)
        except (av.FFmpegError, ValueError) as error:
            raise VideoError(
                f"{self._path} has frames in the format {frame.format.name}, which cannot be converted "
                f"({_reason(error)}): re-encode it."
            ) from None

    def _look_at(self, frame):
        self._upright = Upright(frame, self._stream)
        width, height = self._upright.stretched
        if max(width, height) > _MAX_SIDE or width * height > MAX_PIXELS:
            raise VideoError(
                f"{self._path} has frames of {width}x{height} pixels: at most {_MAX_SIDE} a side and {MAX_PIXELS} in "
                "all can be used, so re-encode it smaller."
            )


@contextlib.contextmanager
def _open(path) -> Iterator[_Video]:
    _refuse_at_sight(path)
    try:
        # The prefix keeps FFmpeg from taking a name with a colon for an address.
        container = av.open(f"file:{path}", options=_OPTIONS, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"{path} cannot be read as a video ({_reason(error, 'no container, ')}): {_AGAIN}") from None
    with container:
        stream = container.streams.best("video")  # not a cover picture, if there is anything else
        if stream is None or stream.disposition & Disposition.attached_pic:
            raise VideoError(
                f"{path} has no video stream{'' if stream is None else ', only a cover picture'}: leave it out."
            )
        decoder = stream.codec_context
        if decoder is None:
            raise VideoError(f"{path} is damaged, or in a format that this FFmpeg cannot decode: re-encode it.")
        decoder.options = _OF_DECODER
        decoder.thread_count = 1
        yield _Video(path, container, stream)


def _refuse_at_sight(path):
    """Raises VideoError for what is no file, or less of one than it says.

    A pipe or a device would be waited for without end.
    """
    try:
        status = os.stat(path)
        regular = stat.S_ISREG(status.st_mode)
        announced = announced_bytes(path) if regular else None
    except FileNotFoundError:
        raise VideoError(f"{path} does not exist.") from None
    except OSError as error:
        raise VideoError(f"{path} cannot be read ({error.strerror}).") from None
    if not regular:
        kind = "folder" if stat.S_ISDIR(status.st_mode) else "device or pipe"
        raise VideoError(f"{path} is a {kind}, not a video file.")
    if announced and announced > status.st_size:
        raise VideoError(f"{path} is truncated, {status.st_size} of {announced} bytes are there: {_AGAIN}")


def _reason(error, also=""):
    if getattr(error, "errno", None) == errno.EINVAL:  # FFmpeg's answer to a header that it does not believe
        return f"{also}its header is wrong, or its frames have more than {MAX_PIXELS} pixels"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


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
