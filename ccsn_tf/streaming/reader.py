"""A source, read in a thread of its own: decoding and the network take turns at nothing."""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Callable, Iterator

from ccsn_tf.streaming.source import FileSource, Frame, StreamSource

_CAPACITY = 64  # frames
_NAP = 0.1  # seconds between two looks at whether to stop


class Reader:
    """The frames of a source.

    Of a live source, frames that find the queue full are lost; of others, reading waits.

    Args:
        source: what is read.
        short_side: see `FileSource.frames`.
        stopped: ends the reading when it is set.
        say: receives lines for people.

    Attributes:
        lost: frames that found the queue full.
    """

    def __init__(
        self, source: FileSource | StreamSource, short_side: int, stopped: threading.Event, say: Callable[[str], None]
    ):
        self._source, self._stopped, self.lost = source, stopped, 0
        self._queue = queue.Queue(_CAPACITY)
        # A daemon: a read that waits for a stream must not keep the process alive.
        self._thread = threading.Thread(target=self._read, args=(short_side, say), daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Frame]:
        """Yields the frames until the source ends or `stopped` is set; raises what ended it, if it was an error."""
        while not self._stopped.is_set():
            try:
                item = self._queue.get(timeout=_NAP)
            except queue.Empty:
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def caught_up(self) -> bool:
        """Whether no frame waits."""
        return self._queue.empty()

    def _read(self, short_side, say):
        follows, end = True, None
        try:
            for frame in self._source.frames(short_side, self._stopped, say):
                follows = follows and frame.follows
                follows = self._put(dataclasses.replace(frame, follows=follows))
        except BaseException as error:  # to be raised where the frames are used
            end = error
        self._put(end, must=True)

    def _put(self, item, must=False):
        """Whether the item was taken."""
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=_NAP if must or not self._source.live else 0.001)
            except queue.Full:
                if must or not self._source.live:
                    continue
                self.lost += 1
                return False
            return True
        return False
