"""What the network saw now and then in a stream, as pictures, few enough for a page however long the stream is."""

from __future__ import annotations

import tensorflow as tf

from ccsn_tf.data.sampling import middle_frame
from ccsn_tf.data.views import InputForm
from ccsn_tf.evaluation.pages import frames_and_flow, seen_strips
from ccsn_tf.models.flow import TVL1Flow
from ccsn_tf.models.flow.loops import LOOPED, iterations
from ccsn_tf.streaming.model import StreamModel

_MOST = 120  # moments: 1.3 MB of a page
_SIDE = 112  # pixels of a picture


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
