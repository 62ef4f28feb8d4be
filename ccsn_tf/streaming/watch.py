"""A source watched to its end, or until it is told to stop: answers as they come, segments at the end."""

import dataclasses
import pathlib
import queue
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np

from ccsn_tf.errors import UserError
from ccsn_tf.streaming.sliding_window import AT_ONCE, WHEN_DUE, WHEN_FULL, Answer, Watcher
from ccsn_tf.streaming.source import FileSource, Frame, StreamSource
from ccsn_tf.streaming.stream_model import StreamModel
from ccsn_tf.streaming.timeline import LineFile, Segment, SegmentMerger, write_segments
from ccsn_tf.streaming.timeline_page import Curves, Moments, write_page

_PATIENCE = 0.5  # seconds that a live frame may wait before snippets are dropped, to catch up
_DELAYS = 10_000  # that are kept
_CAPACITY = 64  # frames that may wait
_NAP = 0.1  # seconds between two looks at whether to stop


@dataclasses.dataclass(frozen=True)
class WatchSettings:
    """What is looked at in a stream, and what is written of it.

    Args:
        window, every: see `Watcher`.
        output: file of JSON lines, a line a window; at the end, files of segments stand beside it. Empty: none.
        page: HTML file to look at. Empty: none.
        enter, leave, min_length: see `SegmentMerger`.
        top_k: classes of a line.
    """

    window: float = 2.0
    every: float = 0.5
    output: str = ""
    page: str = ""
    enter: float = 0.5
    leave: float = 0.3
    min_length: float = 1.0
    top_k: int = 5


@dataclasses.dataclass(frozen=True)
class Watched:
    """What was found.

    Attributes:
        segments: in order.
        counts: `frames`, `snippets`, `windows`, `interruptions`, `reconnections`; and what was left out: snippets
            `dropped` and frames `lost` to catch up, frames `late` (out of order), packets `damaged`, segments too
            `short`. `rejected` windows are about none of the classes.
        delays: seconds from the arrival of a window's last frame to its answer, float (windows,), the last 10,000.
    """

    segments: list[Segment]
    counts: dict[str, int]
    delays: np.ndarray


Top = list[tuple[str, float]]


def watch(
    model: StreamModel,
    source: FileSource | StreamSource,
    settings: WatchSettings,
    stopped: threading.Event,
    show: Callable[[Answer, Top], None] = lambda answer, top: None,
    say: Callable[[str], None] = lambda line: None,
    rejects: Callable[[dict], bool] = lambda outputs: False,
    see: Callable[[Frame], None] = lambda frame: None,
) -> Watched:
    """Watches a source; what was answered is written however it ends.

    Args:
        source: from `open_source`.
        stopped: ends it when it is set; set when it has ended.
        show: called with each answer and its best classes, [(class, score)]; none for one that is rejected.
        say: receives lines for people.
        rejects: whether a window's outputs are about none of the classes (`rejection_of`): no segment has it.
        see: called with each frame.

    Raises:
        UserError: the source cannot be used, or its file is damaged; the window is shorter than a snippet; something
            cannot be written.
    """
    record = _Record(model, source, settings, show, say, rejects)
    watcher = Watcher(model, settings.window, settings.every, record.moments and record.moments.see)
    if source.live:
        watcher.warm_up()
    reader, told = Reader(source, model.config.data.short_side, stopped, say), False
    try:
        for frame in reader:
            see(frame)
            late = source.live and time.monotonic() - frame.arrived > _PATIENCE
            if late and not told:
                say(f"Behind {source.name}: snippets are dropped to catch up, and counted.")
            told = told or late
            look = WHEN_FULL if not source.live else AT_ONCE if reader.caught_up() else WHEN_DUE
            record.add(watcher.push(frame.time, frame.image, frame.follows, late, look), frame.arrived)
        record.add(watcher.finish(None if stopped.is_set() else source.name), time.monotonic())
    except UserError:
        record.failed = True
        record.add(watcher.finish(None), time.monotonic())  # what was read before is answered
        raise
    finally:
        stopped.set()
        found = record.write({**watcher.counts, "lost": reader.lost})
    return found


class Reader:
    """The frames of a source.

    Of a live source, frames that find the queue full are lost; of others, reading waits.

    Args:
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
                follows = self._put(dataclasses.replace(frame, follows=follows), may_be_lost=self._source.live)
        except BaseException as error:  # to be raised where the frames are used
            end = error
        self._put(end, may_be_lost=False)

    def _put(self, item, may_be_lost):
        """Whether the item was taken."""
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0.001 if may_be_lost else _NAP)
                return True
            except queue.Full:
                if may_be_lost:
                    self.lost += 1
                    return False
        return False


class _Record:
    """What was answered, and where it goes."""

    def __init__(self, model, source, settings, show, say, rejects):
        if settings.page and pathlib.Path(settings.page).is_dir():
            raise UserError(f"`page`={settings.page} is a folder: name a file in it.")
        self._classes, self._source, self._settings, self._show = model.classes, source, settings, show
        self._merger = SegmentMerger(model.classes, settings.every, settings.enter, settings.leave, settings.min_length)
        self._curves, self._delays, self.failed = Curves(settings.every, settings.top_k), [], False
        self.moments = Moments(model) if settings.page else None
        self._lines = LineFile(settings.output, say) if settings.output else None
        self._rejects, self._rejected = rejects, 0

    def add(self, answers, arrived):
        for answer in answers:
            scores = answer.outputs["scores"]
            best = np.argsort(-scores, kind="stable")[: self._settings.top_k].tolist()
            top, none = [(self._classes[index], float(scores[index])) for index in best], self._rejects(answer.outputs)
            if self._lines:
                self._lines.write(_line(answer, top) | ({"none": True} if none else {}))
            if none:
                self._rejected, scores, top = self._rejected + 1, np.zeros_like(scores), []
            self._merger.add(answer.start, answer.end, scores)
            if self._settings.page:
                self._curves.add(answer.start, answer.end, best, scores[best])
            self._show(answer, top)
            self._delays.append(time.monotonic() - arrived)
        del self._delays[:-_DELAYS]
        if self.moments:
            self.moments.draw()  # when the answers are given, which do not wait for it

    def write(self, counts):
        source, settings = self._source, self._settings
        counts |= {name: getattr(source, name) for name in ("late", "damaged", "reconnections")}
        segments = self._merger.finish()
        counts |= {"short": self._merger.dropped, "rejected": self._rejected}
        found = Watched(segments, counts, np.array(self._delays))
        if self._lines:
            self._lines.close()
        if self.failed and not counts["windows"]:  # there is nothing to say, and the same command may run again
            if self._lines:
                self._lines.remove()
            return found
        facts = {"source": source.name, "window": settings.window, "every": settings.every, "counts": counts}
        if settings.output:
            write_segments(settings.output, found.segments, {**facts, "classes": list(self._classes)})
        if settings.page:
            write_page(settings.page, source, found.segments, self._curves, self.moments.drawn, self._classes, facts)
        return found


def _line(answer, top):
    return {
        "start": round(answer.start, 3),
        "end": round(answer.end, 3),
        "snippets": answer.snippets,
        "top": [{"class": name, "score": round(score, 4)} for name, score in top],
    }
