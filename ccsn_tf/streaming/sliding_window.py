"""Frames in, answers out: features of snippets once each, and consensus over a window that slides over them."""

import collections
import dataclasses
from collections.abc import Callable

import cv2
import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.data.flow import grey_of, make_estimator, quantise
from ccsn_tf.data.prepare.encode import flow_failure, refuse_few_frames
from ccsn_tf.data.sampling import middle_frame, view_boxes
from ccsn_tf.data.views import InputForm
from ccsn_tf.errors import UserError
from ccsn_tf.streaming.stream_model import StreamModel

# Frames that begin a moment too early, by the rounding of their times, begin a snippet all the same.
TOLERANCE = 1e-3

# Snippets in one pass through the network. More gain nothing, and XLA takes seconds to compile each size.
_PASSES = (4, 1)

# A pause of the stream inside of a snippet makes it long; so many are no accident.
_TOO_LONG = 3


# When snippets are looked at: each when it is complete; all that wait when a window ends; or when they fill a pass,
# which is cheapest, and answers a window some snippets later.
AT_ONCE, WHEN_DUE, WHEN_FULL = "at once", "when due", "when full"


class SnippetRing:
    """Takes frames in order and holds as many as a snippet has.

    Snippets are those of the data (`data.plan`): L flow fields in a row, `flow_stride` frames apart, and as many frames
    as a record of them has. One begins with the first stored frame that is `spacing` seconds or more after the time at
    which the last one was due. With `spacing` = W / K, a window of W seconds holds K snippets, less those that reach
    beyond its end: about as many as `predict` looks at in a clip of W seconds.

    Args:
        config: of the run: how frames and flow are made.
        spacing: seconds from one snippet to the next.
    """

    def __init__(self, config: Config, spacing: float):
        if config.data.flow == "stored" and config.model.flow_source == "stored":
            raise UserError(
                "The model was trained on flow images (`flow` stored), which no stream has: train with another `flow`, "
                "or with `flow_source` graph."
            )
        self._data, self._length, self._stride = config.data, config.model.flow_length, config.data.flow_stride
        self._graph = config.model.flow_source == "graph"
        self._form, self._spacing = InputForm(config.model), spacing
        self._estimate = None if self._graph else make_estimator(config.data)
        self.needed = self._length * self._stride + 1
        self.clear()

    def clear(self) -> None:
        """Forgets the frames: what comes next does not follow them."""
        self._frames, self._fields = {}, {}
        self._count, self._due, self._starts = 0, None, collections.deque()

    def push(self, time: float, frame: np.ndarray) -> tuple[float, float] | None:
        """Takes the next frame.

        Args:
            time: in seconds, not before that of the last frame.
            frame: uint8 RGB (H, W, 3), short side at most `short_side`; of the size of the frames that are held.

        Returns:
            When the snippet that it completes begins and ends; None if it completes none.
        """
        index, self._count = self._count, self._count + 1
        self._frames[index] = frame
        for held in (self._frames, self._fields):
            held.pop(index - self.needed, None)
        if index % self._stride == 0 and (self._due is None or time >= self._due - TOLERANCE):
            self._starts.append((index, time))
            due = time if self._due is None else self._due
            self._due = due + self._spacing * (1 + max(0, int((time - due + TOLERANCE) / self._spacing)))
        if not self._starts or self._starts[0][0] != index + 1 - self.needed:
            return None
        return self._starts.popleft()[1], time

    def inputs(self) -> dict[str, np.ndarray]:
        """The snippet that the last frame has completed, as the network takes it: {name: uint8}, see `InputForm`.

        Cropped to the centre, as `predict` does. Flow of a pair of frames is computed once, when it is first needed.

        Raises:
            UserError: the flow algorithm fails on frames of this size.
        """
        first = self._count - self.needed
        places = [first + self._stride * number for number in range(self._length + 1)]
        if self._graph:
            snippets = {"frames": [[self._frames[place] for place in places]]}
        else:
            middle = self._frames[places[middle_frame(0, self._length)]]
            snippets = {"rgb": [middle], "flow": [[self._field(place) for place in places[:-1]]]}
        out = self._form.empty((1,))
        box, _ = view_boxes(*self._frames[first].shape[:2], 1)[0]
        self._form.write(snippets, box, False, out)
        return {name: values[0] for name, values in out.items()}

    def _field(self, index):
        if index not in self._fields:
            try:
                field = self._estimate(grey_of(self._frames[index]), grey_of(self._frames[index + 1]))
            except cv2.error as error:
                size = self._frames[index].shape[:2]
                raise flow_failure("The stream", self._data, *size, error) from None
            self._fields[index] = quantise(field, self._data.flow_bound).transpose(2, 0, 1)
        return self._fields[index]


@dataclasses.dataclass(frozen=True)
class Answer:
    """Of one window.

    Attributes:
        start, end: in seconds of the stream.
        snippets: that it was made of.
        outputs: of `StreamModel.answer`, without the leading axis.
    """

    start: float
    end: float
    snippets: int
    outputs: dict[str, np.ndarray]


class Watcher:
    """Answers the windows of a stream: each as `predict` would answer its snippets.

    A window ends every `every` seconds, the first one `window` seconds after the stream begins; it has the snippets
    that begin and end in it. One without any is not answered.

    Args:
        model: what answers.
        window, every: in seconds.
        see: called with each snippet: its start and end in seconds, its inputs (`SnippetRing.inputs`), and the short
            side of its frames.

    Attributes:
        counts: `frames`, `snippets` and `windows` so far; `dropped`, snippets that were not looked at to catch up;
            `interruptions`, where the next frame did not follow the last one.

    Raises:
        UserError: `window` or `every` is not above 0, windows would leave parts of the stream out, or the model is of
            no use here (see `SnippetRing`).
    """

    def __init__(self, model: StreamModel, window: float = 2.0, every: float = 0.5, see: Callable | None = None):
        if not 0 < every <= window < float("inf"):
            raise UserError(
                f"`window`={window:g} and `every`={every:g}: pass seconds above 0, and `every` at most `window`, or "
                "parts of the stream would not be looked at."
            )
        self._model, self._window, self._every, self._see = model, window, every, see
        self._ring = SnippetRing(model.config, window / model.config.eval.test_segments)
        self._waiting, self._features = [], collections.deque()
        self._start = self._next = self._time = self._answered = None
        self._number = 0  # of the next window: sums of `every` would drift
        self._size, self._fitting, self._too_long = None, False, []
        self.counts = collections.Counter(frames=0, snippets=0, windows=0, dropped=0, interruptions=0)

    def warm_up(self) -> None:
        """Runs the network once for each size of a pass, which compiles it: live frames do not wait."""
        shapes = InputForm(self._model.config.model).shapes((1,))
        for size in _PASSES:
            inputs = {name: np.zeros((size, *shape[1:]), np.uint8) for name, shape in shapes.items()}
            features = self._model.snippet(inputs)
        self._model.answer({stream: values[None] for stream, values in features.items()})

    def push(
        self, time: float, frame: np.ndarray, follows: bool = True, drop: bool = False, look: str = WHEN_DUE
    ) -> list[Answer]:
        """Takes the next frame.

        Args:
            time: in seconds of the stream, not before that of the last frame.
            frame: uint8 RGB (H, W, 3), short side at most `short_side`. Where its size changes, snippets begin anew.
            follows: whether it is the frame after the last one.
            drop: do not look at the snippet that it completes, if any.
            look: `AT_ONCE`, `WHEN_DUE` or `WHEN_FULL`.

        Returns:
            The windows that end by `time` and were not answered before; with `WHEN_FULL`, those whose snippets have
            been looked at.

        Raises:
            UserError: the stream's snippets are longer than the window, or see `SnippetRing.inputs`.
        """
        self.counts["frames"] += 1
        if self._time is None:
            self._start, self._next, self._size = time, time + self._window, frame.shape
        elif not follows or frame.shape != self._size:
            self._ring.clear()
            self._size = frame.shape
            self.counts["interruptions"] += 1
        self._time = time
        span = self._ring.push(time, frame)
        if span and span[1] - span[0] > self._window + TOLERANCE:
            self._refuse_long(span)
        elif span and drop:
            self.counts["dropped"] += 1
        elif span:
            self._fitting = True
            self._waiting.append((span, self._ring.inputs()))
            if self._see:
                self._see(span, self._waiting[-1][1], min(frame.shape[:2]))
        due = time >= self._next - TOLERANCE
        if len(self._waiting) == _PASSES[0] or look == AT_ONCE or (look == WHEN_DUE and due):
            self._look()
        return self._answer_due()

    def finish(self, name: str | None) -> list[Answer]:
        """The windows that are still due, and a last one where the stream ends after them.

        Args:
            name: of the stream, for errors; None where it was left, which is no reason for one.

        Raises:
            UserError: the stream had no snippet, or none that fits into a window.
        """
        self._look(last=True)
        if name and not self._fitting and not self.counts["dropped"]:
            if self._too_long:
                self._refuse_long(self._too_long.pop(), at_least=1)
            if not self.counts["interruptions"]:
                settings = self._model.config
                refuse_few_frames(name, self.counts["frames"], settings.model.flow_length, settings.data.flow_stride)
        answers = self._answer_due() if self.counts["frames"] else []
        newest = self._features[-1][0][1] if self._features else None
        if newest is not None and (self._answered is None or newest > self._answered + TOLERANCE):
            answers += self._answer(self._time)
        return answers

    def _refuse_long(self, span, at_least=_TOO_LONG):
        self._too_long.append(span)
        if not self._fitting and len(self._too_long) >= at_least:
            seconds = min(end - start for start, end in self._too_long)
            raise UserError(
                f"`window`={self._window:g} is shorter than a snippet of {self._ring.needed} frames, which takes "
                f"{seconds:.2f} seconds of this stream: pass a longer one."
            )

    def _look(self, last=False):
        """Computes the features of the snippets that wait; the last ones fill a pass with copies of one another."""
        while self._waiting:
            size = _PASSES[0] if last else next(size for size in _PASSES if size <= len(self._waiting))
            spans, inputs = zip(*self._waiting[:size], strict=True)
            del self._waiting[:size]
            filled = [inputs[min(number, len(inputs) - 1)] for number in range(size)]
            features = self._model.snippet({name: np.stack([each[name] for each in filled]) for name in inputs[0]})
            for number, span in enumerate(spans):
                self._features.append((span, {stream: values[number] for stream, values in features.items()}))
            self.counts["snippets"] += len(spans)

    def _answer_due(self):
        """The windows that have ended, up to one whose snippets have not been looked at."""
        answers = []
        while self._next <= self._time + TOLERANCE:
            if self._waiting and self._waiting[0][0][1] <= self._next + TOLERANCE:
                break
            answers += self._answer(self._next)
            self._number += 1
            self._next = self._start + self._window + self._number * self._every
            self._forget()
        return answers

    def _answer(self, end):
        start = max(self._start, end - self._window)
        inside = [
            features
            for (begins, ends), features in self._features
            if begins >= start - TOLERANCE and ends <= end + TOLERANCE
        ]
        if not inside:
            return []
        stacked = {stream: np.stack([each[stream] for each in inside])[None] for stream in inside[0]}
        outputs = {name: values[0] for name, values in self._model.answer(stacked).items()}
        self.counts["windows"] += 1
        self._answered = end
        return [Answer(start, end, len(inside), outputs)]

    def _forget(self):
        """Drops the features that no window to come has; the last one ends when the stream does, before the next."""
        while self._features and self._features[0][0][0] < self._next - self._every - self._window - TOLERANCE:
            self._features.popleft()
