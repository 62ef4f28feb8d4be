"""The two forms of a network's input: frames with stored flow, and the frames that it computes flow from itself.

A form reads a clip's snippets from its video or its record, makes JPEGs of them and back, and writes views of them into
the network's arrays. What `snippets` are is the form's own matter. No TensorFlow: workers and clients use it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ccsn_tf.config import Config, ModelConfig
from ccsn_tf.data.prepare.encode import encode_field, encode_frame
from ccsn_tf.data.snippets import Snippets, record_frames, record_snippets, video_frames, video_snippets
from ccsn_tf.data.stopwatch import Stopwatch
from ccsn_tf.data.transform import (
    decode_field,
    decode_frame,
    empty_frames,
    empty_input,
    network_frames,
    network_input,
)


class StoredFlowInput:
    """`rgb` uint8 (K, S, S, 3) and `flow` uint8 (K, S, S, 2L).

    Snippets are the pair of frames and fields that `data.snippets` describes.
    """

    def __init__(self, model: ModelConfig):
        self._model = model

    def shapes(self, leading: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """Of the arrays with these leading axes, K the last of them, by name."""
        model, size = self._model, (self._model.image_size, self._model.image_size)
        return {
            "rgb": (*leading, *size, 3),
            "flow": (*leading, *size, 2 * model.flow_length),
        }

    def empty(self, leading: tuple[int, ...]) -> dict[str, np.ndarray]:
        """Arrays of these shapes, to be written."""
        model = self._model
        arrays = empty_input(leading, model.flow_length, model.image_size)
        return dict(zip(("rgb", "flow"), arrays, strict=True))

    def of_video(self, path: str, config: Config, num_segments: int, watch: Stopwatch | None = None) -> Snippets:
        """See `video_snippets`."""
        return video_snippets(path, config, num_segments, watch)

    def of_record(self, file: str | bytes, offset: int, length: int, num_fields: int, starts: np.ndarray) -> Snippets:
        """See `record_snippets`."""
        model = self._model
        return record_snippets(file, offset, length, num_fields, starts, model.flow_length)

    def size(self, snippets: Snippets) -> tuple[int, int]:
        """Height and width of the frames."""
        return snippets[0][0].shape[:2]

    def write(self, snippets: Snippets, box: Sequence[int], mirrored: bool, out: dict[str, np.ndarray]) -> None:
        """Writes a view of K snippets; see `network_input`."""
        network_input(*snippets, box, mirrored, self._model.image_size, (out["rgb"], out["flow"]))

    def to_jpegs(self, snippets: Snippets, quality: int) -> dict[str, list]:
        """Of one frame a segment, the JPEGs that a record would hold: `rgb` K, `flow` K times L; shared as they are."""
        frames, fields = snippets
        return {"rgb": _each(frames, lambda x: encode_frame(x, quality)), "flow": _each(fields, _planes(quality))}

    def from_jpegs(self, jpegs: dict[str, list]) -> Snippets:
        """What `to_jpegs` gave, decoded."""
        return _each(jpegs["rgb"], _of_bytes(decode_frame)), _each(jpegs["flow"], _of_bytes(decode_field))


class FramesInput:
    """`frames` uint8 (K, L + 1, S, S, 3), of a model that computes flow itself; the methods are `StoredFlowInput`'s.

    Snippets are K times L + 1 frames.
    """

    def __init__(self, model: ModelConfig):
        self._model = model

    def shapes(self, leading: Sequence[int]) -> dict[str, tuple[int, ...]]:
        model = self._model
        return {"frames": (*leading, model.flow_length + 1, model.image_size, model.image_size, 3)}

    def empty(self, leading: tuple[int, ...]) -> dict[str, np.ndarray]:
        return {"frames": empty_frames(leading, self._model.flow_length, self._model.image_size)}

    def of_video(self, path, config, num_segments, watch=None) -> list[list[np.ndarray]]:
        return video_frames(path, config, num_segments, watch)

    def of_record(self, file, offset, length, num_fields, starts) -> list[list[np.ndarray]]:
        return record_frames(file, offset, length, num_fields, starts, self._model.flow_length)

    def size(self, snippets) -> tuple[int, int]:
        return snippets[0][0].shape[:2]

    def write(self, snippets, box, mirrored, out) -> None:
        network_frames(snippets, box, mirrored, out["frames"])

    def to_jpegs(self, snippets, quality) -> dict[str, list]:
        return {"frames": _each(snippets, lambda x: encode_frame(x, quality))}

    def from_jpegs(self, jpegs) -> list[list[np.ndarray]]:
        return _each(jpegs["frames"], _of_bytes(decode_frame))


InputForm = StoredFlowInput | FramesInput


def input_form(model: ModelConfig) -> InputForm:
    """The form that the model takes."""
    return FramesInput(model) if model.flow_source == "graph" else StoredFlowInput(model)


def _each(items: list, function: Callable) -> list:
    """`function` of each item of nested lists, called once for items that are the same object."""
    made = {}

    def of(item):
        if isinstance(item, list):
            return [of(part) for part in item]
        if id(item) not in made:
            made[id(item)] = function(item)
        return made[id(item)]

    return of(items)


def _planes(quality):
    return lambda field: encode_field(field.transpose(1, 2, 0), quality)


def _of_bytes(decode):
    return lambda jpeg: decode(np.frombuffer(jpeg, np.uint8))
