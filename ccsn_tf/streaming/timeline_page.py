"""A page to look at: the video, the segments found in it, scores over time, what the network saw; in one file."""

import array
import itertools
import os
import pathlib
import urllib.parse
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ccsn_tf.data.sampling import middle_frame
from ccsn_tf.data.views import InputForm
from ccsn_tf.evaluation.pages import frames_and_flow, page_template, seen_strips, wheel
from ccsn_tf.files import write_text
from ccsn_tf.models.flow import TVL1Flow
from ccsn_tf.models.flow.loops import LOOPED, iterations
from ccsn_tf.streaming.source import FileSource, StreamSource
from ccsn_tf.streaming.stream_model import StreamModel
from ccsn_tf.streaming.timeline import Segment, short_clock

_TEMPLATE = pathlib.Path(__file__).with_name("timeline_page.html")
_SHOWN = 8  # classes with a row and a curve: as many as there are colours
_BINS = 1500  # points of a curve: more than a screen has pixels
_WIDTH, _HEIGHT = 1000, 100  # of the plot, in units of its own
_MOST = 120  # moments: 1.3 MB of a page
_SIDE = 112  # pixels of a picture of one


class Curves:
    """The best classes of each window: a few bytes a window, for streams of days.

    Args:
        every: seconds from one window to the next.
        top_k: classes of a window that are kept.
    """

    def __init__(self, every: float, top_k: int):
        self._every, self._top_k = every, top_k
        self._times, self._numbers, self._scores = array.array("d"), array.array("i"), array.array("f")
        self.end = 0.0

    def add(self, start: float, end: float, numbers: Sequence[int], scores: np.ndarray) -> None:
        """Takes the next window and its best classes, all of one length."""
        self._times.append((start + end) / 2)
        self._numbers.extend(numbers)
        self._scores.extend(scores.tolist())
        self.end = max(self.end, end)

    def best(self) -> list[int]:
        """Numbers of the classes in order of their highest score."""
        highest = {}
        for number, score in zip(self._numbers, self._scores, strict=True):
            highest[number] = max(score, highest.get(number, 0.0))
        return sorted(highest, key=highest.get, reverse=True)

    def points(self, number: int) -> list[list[tuple[float, float]]]:
        """(Time, score) of a class, in pieces where windows are missing; 0 where it is not among the best."""
        windows = len(self._times)
        if not windows:
            return []
        times = np.array(self._times)
        numbers, scores = (np.array(each).reshape(windows, -1) for each in (self._numbers, self._scores))
        score = np.where(numbers == number, scores, 0.0).max(axis=1)
        cuts = np.flatnonzero(np.diff(times) > 1.5 * self._every) + 1
        count = max(1, -(-windows // _BINS))
        pieces = []
        for piece in np.split(np.arange(windows), cuts):
            bins = np.split(piece, range(count, len(piece), count))
            pieces.append([(float(times[part].mean()), float(score[part].max())) for part in bins])
        return pieces


class Moments:
    """Pictures of one snippet every so often: its frame, its flow, and where the streams looked in one another.

    Args:
        model: that is shown them.
        spacing: seconds from one to the next; twice as many each time that there are more than 120.

    Attributes:
        drawn: one a moment, {"time": of its frame, in seconds, "strips": from `seen_strips`}.
    """

    def __init__(self, model: StreamModel, spacing: float = 1.0):
        self._model, self._spacing, self._waiting, self.drawn = model, spacing, [], []
        self._due = float("-inf")
        settings = model.config.model
        self._share = middle_frame(0, settings.flow_length) / settings.flow_length  # of a snippet, before that frame
        # Every network that computes flow has this layer; exports do not tell what it finds.
        self._estimate = tf.function(TVL1Flow()) if settings.flow_source == "graph" else None
        with iterations(LOOPED):  # compiling takes longer than so few fields
            self._strips(InputForm(settings).empty((1,)), 1)  # traces: frames of a live source do not wait

    def see(self, span: tuple[float, float], inputs: dict, side: int) -> None:
        """Takes a snippet (see `Watcher`), and keeps it until `draw` if one is due."""
        start, end = span
        time = start + self._share * (end - start)
        if time >= self._due:
            self._due = time + self._spacing
            self._waiting.append((time, inputs, side))

    def draw(self) -> None:
        """Draws those that wait."""
        for time, inputs, side in self._waiting:
            strips = self._strips({name: values[None] for name, values in inputs.items()}, side)
            self.drawn.append({"time": round(time, 3), "strips": strips})
        self._waiting.clear()
        if len(self.drawn) > _MOST:
            self.drawn, self._spacing = self.drawn[::2], 2 * self._spacing
            self._due = self.drawn[-1]["time"] + self._spacing

    def _strips(self, snippet, side):
        seen = frames_and_flow(snippet, self._model.config, side, self._estimate)
        return seen_strips(*seen, self._model.attention and self._model.attention(snippet), _SIDE)


def write_page(
    path: str | pathlib.Path,
    source: FileSource | StreamSource,
    segments: Sequence[Segment],
    curves: Curves,
    moments: Sequence[dict],
    classes: Sequence[str],
    facts: dict,
) -> None:
    """Writes the page, whole. A file is played from where it lies, seen from the page; a live source is not there.

    Args:
        segments: in order.
        moments: see `Moments`.
        classes: names in label order.
        facts: `source`, `window`, `every` and `counts`.

    Raises:
        UserError: it cannot be written.
    """
    end = max([curves.end, source.seconds or 0.0, *(each.end for each in segments)]) or 1.0
    video = None
    if isinstance(source, FileSource):
        relative = os.path.relpath(os.path.abspath(source.path), os.path.dirname(os.path.abspath(path)))
        video = urllib.parse.quote(relative.replace(os.sep, "/"))
    text = page_template(_TEMPLATE, clock=short_clock).render(
        facts=facts,
        video=video,
        rows=_rows(segments, curves, classes, end),
        segments=[{**vars(each), "rank": rank} for each, rank in _ranked(segments, curves, classes)],
        moments=[{**each, "clock": short_clock(each["time"])} for each in moments],
        wheel=wheel(),
        end=end,
        ticks=_ticks(end),
        name=os.path.basename(source.path) if video else source.name,
    )
    write_text(path, text)


def shown_classes(segments: Sequence[Segment], curves: Curves, classes: Sequence[str]) -> list[str]:
    """The classes with a row: of segments, by their time in all, then those of the highest scores."""
    lengths = {}
    for each in segments:
        lengths[each.label] = lengths.get(each.label, 0.0) + each.end - each.start
    by_score = (classes[number] for number in curves.best())
    order = itertools.chain(sorted(lengths, key=lengths.get, reverse=True), by_score)
    return list(dict.fromkeys(order))[:_SHOWN]


def _ranked(segments, curves, classes):
    shown = shown_classes(segments, curves, classes)
    return [(each, shown.index(each.label) if each.label in shown else None) for each in segments]


def _rows(segments, curves, classes, end):
    numbers = {name: number for number, name in enumerate(classes)}

    def x(seconds):
        return round(_WIDTH * seconds / end, 2)

    def line(points):
        return "M" + " L".join(f"{x(time)} {_HEIGHT * (1 - score):.1f}" for time, score in points)

    return [
        {
            "label": name,
            "line": " ".join(map(line, curves.points(numbers[name]))),
            "bars": [
                {"x": x(each.start), "width": round(x(each.end) - x(each.start), 2), "segment": each}
                for each in segments
                if each.label == name
            ],
        }
        for name in shown_classes(segments, curves, classes)
    ]


def _ticks(end):
    """(Seconds, share of the width) of some four round times."""
    steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400]
    step = next((step for step in steps if end / step <= 4.5), steps[-1])
    return [(float(time), time / end) for time in np.arange(0, end, step)]
