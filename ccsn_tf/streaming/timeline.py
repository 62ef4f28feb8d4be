"""What was answered: a line a window as it comes, in a file; windows merged to segments, as JSON, subtitles and CSV."""

import contextlib
import csv
import dataclasses
import html
import io
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ccsn_tf.errors import UserError
from ccsn_tf.files import write_text

SUFFIXES = (".json", ".vtt", ".csv")  # of the files that are written at the end, beside that of the lines


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


class LineFile:
    """A file of JSON lines, each there whole or not at all, at once.

    Where the disk is full, lines are kept until there is room again.

    Args:
        path: of the file, which must not exist.
        say: receives lines for people.

    Raises:
        UserError: it, or a file that will stand beside it, exists, or cannot be written; it has the ending of one.
    """

    def __init__(self, path: str, say: Callable[[str], None]):
        self._path, self._say, self._kept, self._told = pathlib.Path(path), say, [], False
        if self._path.suffix in SUFFIXES:
            raise UserError(f"`output`={path}: that ending is for the segments beside it; name it .jsonl.")
        there = [file for file in (self._path, *beside(path)) if file.exists()]
        if there:
            raise UserError(f"`output`={path}: {there[0]} exists: name another file, or remove it.")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("xb", buffering=0)
        except OSError as error:
            raise _unwritable(path, error) from None

    def write(self, line: dict) -> None:
        """Adds a line."""
        self._kept.append(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        try:
            self._flush()
        except OSError as error:
            if not self._told:
                self._say(f"{_unwritable(self._path, error)} The lines are kept until then.")
            self._told = True

    def close(self) -> None:
        """Closes the file.

        Raises:
            UserError: there is still no room for its last lines.
        """
        with self._file:
            try:
                self._flush()
            except OSError as error:
                raise UserError(f"{_unwritable(self._path, error)} {len(self._kept)} lines are lost.") from None

    def remove(self) -> None:
        """Removes the file, which is closed."""
        self._path.unlink(missing_ok=True)

    def _flush(self):
        while self._kept:
            end = os.fstat(self._file.fileno()).st_size
            try:
                if self._file.write(self._kept[0]) < len(self._kept[0]):
                    raise OSError(0, "no space left")
            except OSError:
                with contextlib.suppress(OSError):  # half a line is none
                    self._file.truncate(end)
                    self._file.seek(end)
                raise
            del self._kept[0]


def beside(path: str) -> list[pathlib.Path]:
    """The files of segments that stand beside a file of lines."""
    return [pathlib.Path(path).with_suffix(suffix) for suffix in SUFFIXES]


def write_segments(path: str, segments: Sequence[Segment], facts: dict) -> None:
    """Writes the files of segments beside that of the lines, each whole; `facts` stand in the JSON, too."""
    rows = [
        {"class": each.label, "start": round(each.start, 3), "end": round(each.end, 3), "score": round(each.score, 4)}
        for each in segments
    ]
    texts = (json.dumps({**facts, "segments": rows}, indent=1, ensure_ascii=False) + "\n", vtt(segments), _csv(rows))
    for place, text in zip(beside(path), texts, strict=True):
        write_text(place, text)


def vtt(segments: Iterable[Segment]) -> str:
    """Subtitles (WebVTT): the class of each segment, and its score."""
    cues = [
        f"{clock(each.start)} --> {clock(each.end)}\n{html.escape(each.label, quote=False)} {100 * each.score:.0f} %\n"
        for each in segments
    ]
    return "\n".join(["WEBVTT\n", *cues])


def clock(seconds: float) -> str:
    """Seconds as hh:mm:ss.mmm."""
    whole, thousandths = divmod(round(1000 * seconds), 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}.{thousandths:03d}"


def short_clock(seconds: float) -> str:
    """Seconds as mm:ss.m, with hours where there are any."""
    return clock(seconds)[:-2].removeprefix("00:")


def _csv(rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, ["class", "start", "end", "score"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _unwritable(path, error):
    return UserError(f"{path} cannot be written ({error.strerror or error}): free space, or choose another folder.")
