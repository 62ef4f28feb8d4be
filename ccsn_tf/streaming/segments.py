"""Answers of windows to segments: what happens, from when to when."""

from __future__ import annotations

import dataclasses

import numpy as np

from ccsn_tf.errors import UserError


@dataclasses.dataclass(frozen=True)
class Segment:
    """A class, from `start` to `end` in seconds, and its mean score over the windows between."""

    label: str
    start: float
    end: float
    score: float


class SegmentMerger:
    """Merges windows in order as they come; what it keeps does not grow with the stream, but for the segments.

    A window speaks for `every` seconds around its middle, and the first and last one before an interruption up to their
    ends: so windows that overlap do not make segments longer. A class's segment begins with a score of `enter` or more
    and ends before one below `leave` (hysteresis), or where the windows are interrupted. Segments of two
    classes may overlap where `leave` is below 0.5.

    Args:
        classes: names in the order of scores.
        every: seconds from one window to the next.
        enter, leave: scores, `leave` at most `enter`.
        shortest: segments shorter than that, in seconds, are dropped and counted.

    Attributes:
        dropped: how many.

    Raises:
        UserError: `leave` is above `enter`, or they are no scores.
    """

    def __init__(self, classes, every: float, enter: float = 0.5, leave: float = 0.3, shortest: float = 1.0):
        if not 0 < leave <= enter <= 1 or not shortest >= 0:
            raise UserError(
                f"`enter`={enter:g} and `leave`={leave:g} must be scores in (0, 1], `leave` at most `enter`, and "
                f"`min_length`={shortest:g} seconds."
            )
        self._classes, self._every, self._enter, self._leave, self._shortest = classes, every, enter, leave, shortest
        self._open = {}  # class number -> (start, [sum of scores, windows])
        self._last = None  # (start, end) of the last window
        self.dropped = 0
        self._done = []

    def add(self, start: float, end: float, scores: np.ndarray) -> None:
        """Takes the next window: `scores` (classes,)."""
        middle = (start + end) / 2
        begins = start if self._last is None else self._middle() + self._every / 2
        if self._last is not None and middle - self._middle() > 1.5 * self._every:
            self._close(list(self._open), self._last[1])
            begins = max(start, self._last[1])
        self._close([number for number in self._open if scores[number] < self._leave], begins)
        for number in np.flatnonzero(scores >= self._enter).tolist():
            self._open.setdefault(number, (begins, [0.0, 0]))
        for number, (_, total) in self._open.items():
            total[0] += float(scores[number])
            total[1] += 1
        self._last = start, end

    def finish(self) -> list[Segment]:
        """All segments, in order of their starts; those that go on end with the last window."""
        self._close(list(self._open), self._last and self._last[1])
        return sorted(self._done, key=lambda segment: (segment.start, segment.end, segment.label))

    def _close(self, numbers, end):
        for number in numbers:
            start, (total, windows) = self._open.pop(number)
            if end - start >= self._shortest - 1e-9:
                self._done.append(Segment(self._classes[number], start, end, total / windows))
            else:
                self.dropped += 1

    def _middle(self):
        return sum(self._last) / 2
