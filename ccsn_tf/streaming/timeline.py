"""What was answered, as files: a line a window as it comes, and at the end segments as JSON, subtitles and CSV."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence

from ccsn_tf.errors import UserError
from ccsn_tf.files import write_text
from ccsn_tf.streaming.segments import Segment

SUFFIXES = (".json", ".vtt", ".csv")  # of the files that are written at the end, beside that of the lines


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
    """Writes these files, each whole.

    Args:
        path: of the lines.
        segments: in order.
        facts: what else stands in the JSON.

    Raises:
        UserError: they cannot be written.
    """
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
        f"{clock(each.start)} --> {clock(each.end)}\n{_escaped(each.label)} {100 * each.score:.0f} %\n"
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


def _escaped(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _unwritable(path, error):
    return UserError(f"{path} cannot be written ({error.strerror or error}): free space, or choose another folder.")
