"""A process of a `WorkerPool`, started as `python -m ccsn_tf.worker FD`; FD is its connection.

It is sent the function, then one tuple of arguments after the other. It answers (kind, value): for each task "begun",
then "beat" with a count, now and then, and last "value" or "error". It ends when its connection does, whatever it is
doing then: a pool that was killed leaves nothing behind.
"""

import contextlib
import os
import pathlib
import pickle
import queue
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection

_BEAT_SECONDS = 0.1  # at most this often: a beat wakes the pool up


def serve(descriptor: int) -> None:
    """Serves the pool at the other end of a connection, for ever."""
    connection, messages = Connection(descriptor), queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, messages), daemon=True).start()
    with contextlib.suppress(OSError):  # where memory ends, a worker is to go, not the pool
        pathlib.Path("/proc/self/oom_score_adj").write_text("500")
    try:
        function = pickle.loads(messages.get())
    except Exception as error:
        connection.send_bytes(_pickled_error(error))
        return
    beat = _Beat(connection)
    while True:
        arguments = messages.get()
        connection.send(("begun", None))
        answer = _answer(function, arguments, beat)
        beat.flush()
        connection.send_bytes(answer)


def _receive(connection, messages):
    """Hands on what the pool sends. The process ends with it, however it ended: nobody waits for an answer any more."""
    with contextlib.suppress(OSError, EOFError):  # OSError: reset, where the pool left something unread
        while True:
            messages.put(connection.recv_bytes())
    os._exit(1)


class _Beat:
    """What a function calls to show that it gets on, with how much it has done since the last time."""

    def __init__(self, connection):
        self._connection, self._count, self._sent = connection, 0, time.monotonic()

    def __call__(self, count: int = 1) -> None:
        self._count += count
        if time.monotonic() - self._sent > _BEAT_SECONDS:
            self.flush()

    def flush(self) -> None:
        self._connection.send(("beat", self._count))
        self._count, self._sent = 0, time.monotonic()


def _answer(function, arguments, beat):
    try:
        return pickle.dumps(("value", function(*pickle.loads(arguments), beat)))
    except Exception as error:
        return _pickled_error(error)


def _pickled_error(error):
    """The exception with its traceback as a note; its text alone where it cannot travel."""
    error.add_note(f"In a worker process:\n{''.join(traceback.format_exception(error))}")
    try:
        content = pickle.dumps(("error", error))
        pickle.loads(content)
    except Exception:
        content = pickle.dumps(("error", RuntimeError(f"{type(error).__name__}: {error}")))
    return content


if __name__ == "__main__":
    serve(int(sys.argv[1]))
