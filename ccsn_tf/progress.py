"""One line of progress: done, rate, time left. Redrawn in a terminal, written now and then to a log."""

import sys
import time
from collections.abc import Callable


class Progress:
    """Shows how far a piece of work is; call it with (done, total), as often as convenient.

    Args:
        name: what is done, such as "prepare".
        unit: what is counted, such as "clips".
    """

    def __init__(self, name: str, unit: str, stream=None):
        self._name, self._unit, self._stream = name, unit, stream or sys.stderr
        self._start, self._begun, self._shown, self._finished = time.monotonic(), None, None, False
        self._interval = 0.2 if self._stream.isatty() else 10.0

    def __call__(self, done: int, total: int, note: Callable[[], str] = lambda: "") -> None:
        """Shows the line if it is time to; always the first and, once, the last. `note` is made only when shown."""
        if self._finished:
            return
        now = time.monotonic()
        if self._begun is None:
            self._begun = done  # what was there already does not count into the rate
        if self._shown is not None and now - self._shown < self._interval and done < total:
            return
        self._shown, self._finished = now, done >= total
        seconds = now - self._start
        rate = (done - self._begun) / seconds if seconds > 0 else 0.0
        left = f"{clock((total - done) / rate)} left" if rate and done < total else f"{clock(seconds)} taken"
        share = 100 * done // total if total else 100
        line = f"{self._name} {share:3d} % {done}/{total} {self._unit}, {rate:.1f} {self._unit}/s, {left}"
        said = note()
        line += f", {said}" if said else ""
        if self._stream.isatty():
            self._stream.write(f"\r\x1b[K{line}" + ("\n" if done >= total else ""))
        else:
            self._stream.write(line + "\n")
        self._stream.flush()


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
