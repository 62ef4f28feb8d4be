"""Where frames come from: a file, a camera, an address, or standard input; each frame with its time."""

import dataclasses
import os
import re
import threading
import time
from collections.abc import Callable, Iterator

import av
import numpy as np

from ccsn_tf.data.upright import Upright
from ccsn_tf.data.video import MAX_PIXELS, duration, iter_timed, time_origin
from ccsn_tf.errors import UserError

# What FFmpeg may open for an address of each scheme: what a server sends can name no file here.
_WEB = "http,https,tcp,tls,crypto,data"
_RTSP = "rtsp,rtsps,rtp,srtp,udp,tcp,tls"
_PROTOCOLS = {"http": _WEB, "https": _WEB, "rtsp": _RTSP, "rtsps": _RTSP, "udp": "udp"}
_TCP_FIRST = {"rtsp_flags": "prefer_tcp"}
_OPTIONS = {"rtsp": _TCP_FIRST, "rtsps": _TCP_FIRST, "udp": {"overrun_nonfatal": "1"}}

_SILENCE = 10.0  # seconds without a byte: the source is taken for broken
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # seconds before it is opened again; each pause is twice the last one
_BACK, _AHEAD = 1.0, 10.0  # seconds by which stamps leap where a stream counts anew; less is disorder, or a pause


@dataclasses.dataclass(frozen=True)
class Frame:
    """A frame of a source.

    Attributes:
        time: in seconds, never before that of the last frame. Of recordings, that of their players; of live sources,
            since the first frame: through an interruption it goes on by the clock.
        image: uint8 RGB (H, W, 3).
        arrived: when it was decoded, by `time.monotonic`.
        follows: whether it is the frame after the last one.
    """

    time: float
    image: np.ndarray
    arrived: float
    follows: bool = True


class FileSource:
    """A video file, read as fast as possible.

    Attributes:
        name: for people.
        path: of the file.
        live: whether frames come when they are made, so that who is late has to leave some out.
        seconds: how long it is, if that is known.
    """

    live = False
    late = damaged = reconnections = 0  # see `StreamSource`

    def __init__(self, path: str):
        self.name, self.path, self.seconds = path, path, None

    def frames(self, short_side: int, stopped: threading.Event, say: Callable[[str], None]) -> Iterator[Frame]:
        """Yields the frames; ends when `stopped` is set.

        Args:
            short_side: frames with a longer short side are scaled down to it.
            stopped: to be looked at now and then.
            say: receives lines for people.

        Raises:
            VideoError: the file cannot be used, or, after its frames, is damaged.
        """
        self.seconds = duration(self.path)
        for seconds, image in iter_timed(self.path, short_side):
            if stopped.is_set():
                return
            yield Frame(seconds, image, time.monotonic())


class StreamSource:
    """What FFmpeg reads from an address, a camera or a pipe. Opened again when it breaks, unless it is a pipe.

    Attributes:
        late: frames left out because they came out of order.
        damaged: packets that could not be decoded.
        name, live, seconds: see `FileSource`. An address that knows how long it is is a recording: `live` is known with
            the first frame.
    """

    def __init__(self, name: str, address, format: str | None = None, options: dict | None = None, reconnects=True):
        self.name, self.live, self.seconds = name, True, None
        self.late = self.damaged = self._connections = 0
        self._address, self._format, self._options, self._reconnects = address, format, options or {}, reconnects
        self._clock = _Clock()

    @property
    def reconnections(self) -> int:
        """How often it was opened again."""
        return max(0, self._connections - 1)

    def frames(self, short_side: int, stopped: threading.Event, say: Callable[[str], None]) -> Iterator[Frame]:
        """See `FileSource.frames`.

        Raises:
            UserError: it cannot be opened, or gives no frame, the first time.
        """
        pause, seen = _FIRST_PAUSE, False
        while not stopped.is_set():
            reason = "it ended"
            try:
                for frame in self._connection(short_side, stopped):
                    pause, seen = _FIRST_PAUSE, True
                    yield frame
                if not self.live or not self._reconnects:
                    return
            except (av.FFmpegError, OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                if isinstance(error, av.ExitError):
                    reason = f"nothing came for {_SILENCE:g} s"
            if stopped.is_set():
                return
            if not seen:
                raise UserError(f"{self.name} gives no video ({reason}): is it there, and is it video?")
            if not self._reconnects:
                say(f"{self.name} broke off ({reason}).")
                return
            say(f"{self.name} broke off ({reason}); opened again in {pause:g} s.")
            stopped.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _connection(self, short_side, stopped):
        """Yields the frames of one connection; what was wrong with it, as FFmpeg says it, is raised at its end."""
        container = av.open(
            self._address, format=self._format, options=self._options, timeout=_SILENCE, metadata_errors="replace"
        )
        with container:
            stream = container.streams.best("video")
            if stream is None or stream.codec_context is None:
                raise ValueError("no video stream in it")
            stream.codec_context.thread_count = 1
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
            self._connections += 1
            self.live, start = not _is_recording(container), time_origin(container)
            self.seconds = container.duration / av.time_base if container.duration and not self.live else None
            self._clock.connect()
            upright, follows = None, not self.reconnections or not self.live
            for frame in self._decoded(container, stream):
                if stopped.is_set():
                    return
                if frame is None:
                    follows = False
                    continue
                arrived = time.monotonic()
                if self.live:
                    seconds, in_order = self._clock.live(frame.time, arrived, stream.average_rate)
                    follows = follows and in_order
                else:
                    seconds = self._clock.recorded(frame.time - start if frame.time is not None else None, stream)
                if seconds is None:
                    self.late += self.live  # of a recording, it was seen before
                    continue
                if upright is None or not upright.fits(frame):
                    upright = Upright(frame, stream)
                yield Frame(seconds, upright.convert(frame, short_side), arrived, follows)
                follows = True

    def _decoded(self, container, stream):
        """Yields the frames; None where some were damaged. Those that the decoder holds back come before an error."""
        try:
            for packet in container.demux(stream):
                try:
                    yield from packet.decode()
                except av.InvalidDataError:
                    self.damaged += 1
                    yield None
        except (av.FFmpegError, OSError):
            yield from stream.decode(None)
            raise


class _Clock:
    """The times of frames over all connections of a source."""

    def __init__(self):
        self._began = self._last = None

    def connect(self):
        """The next frame is the first one of a connection."""
        self._offset = self._stamp = None

    def live(self, stamp, arrived, rate):
        """(Seconds since the first frame of all, whether it follows the last one); None for a frame out of order."""
        step = float(1 / (rate or 25))
        if stamp is None:
            stamp = 0.0 if self._stamp is None else self._stamp + step
        in_order = True
        if self._stamp is not None and not self._stamp - _BACK < stamp < self._stamp + _AHEAD:
            self._offset, in_order = None, False
        elif self._stamp is not None and stamp <= self._stamp:
            return None, True
        if self._offset is None:
            self._began = arrived if self._began is None else self._began
            elapsed = arrived - self._began
            self._offset = (elapsed if self._last is None else max(elapsed, self._last + step)) - stamp
        self._stamp, self._last = stamp, stamp + self._offset
        return self._last, in_order

    def recorded(self, seconds, stream):
        """Seconds since the start; None for a frame that came before, as when a recording was opened again."""
        step = float(1 / (stream.average_rate or 25))
        seconds = (0.0 if self._stamp is None else self._stamp + step) if seconds is None else seconds
        self._stamp = seconds
        if self._last is not None and seconds <= self._last:
            return None
        self._last = seconds
        return seconds


def _is_recording(container):
    """Whether an address has an end: it says how many bytes there are. A playlist's bytes are not the video's."""
    return container.size > 0 and (container.format.name != "hls" or bool(container.duration))


def open_source(text: str) -> FileSource | StreamSource:
    """The source that a command names: a video file, a camera's number, an address, or - for MPEG-TS on standard input.

    Raises:
        UserError: an address of an unknown kind.
    """
    if text == "-":
        return StreamSource("standard input", "pipe:0", "mpegts", {"protocol_whitelist": "pipe"}, reconnects=False)
    if re.fullmatch(r"\d{1,2}", text) and not os.path.exists(text):
        return StreamSource(f"camera {text}", f"/dev/video{text}", "v4l2")
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
    if scheme is None:
        return FileSource(text)
    scheme = scheme[1].lower()
    if scheme not in _PROTOCOLS:
        known = ", ".join(f"{name}://" for name in _PROTOCOLS)
        raise UserError(f"{_without_password(text)} is of no known kind: give a file, or an address of {known}.")
    options = {"protocol_whitelist": _PROTOCOLS[scheme], **_OPTIONS.get(scheme, {})}
    return StreamSource(_without_password(text), text, None, options)


def _without_password(address):
    return re.sub(r"(://)[^/@]*@", r"\1***@", address)
