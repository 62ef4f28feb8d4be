"""The last frames of a stream, and the snippets that they complete."""

from __future__ import annotations

import collections

import cv2
import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.data.flow import grey_of, make_estimator, quantise
from ccsn_tf.data.prepare.encode import flow_failure
from ccsn_tf.data.sampling import middle_frame, view_boxes
from ccsn_tf.data.views import InputForm
from ccsn_tf.errors import UserError

# Frames that begin a moment too early, by the rounding of their times, begin a snippet all the same.
TOLERANCE = 1e-3


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
        self._frames, self._greys, self._fields = {}, {}, {}
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
        for held in (self._frames, self._greys, self._fields):
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
                field = self._estimate(self._grey(index), self._grey(index + 1))
            except cv2.error as error:
                size = self._frames[index].shape[:2]
                raise flow_failure("The stream", self._data, *size, error) from None
            self._fields[index] = quantise(field, self._data.flow_bound).transpose(2, 0, 1)
        return self._fields[index]

    def _grey(self, index):
        if index not in self._greys:
            self._greys[index] = grey_of(self._frames[index])
        return self._greys[index]
