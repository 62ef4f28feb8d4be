"""A clip, from its video or its record, to views of it as the network takes them. No TensorFlow: workers and clients
use it.

There is one way for training, evaluation and serving: read K snippets, which are evenly spaced or start where a plan
says; perhaps through JPEG; crop, mirror and scale. OpenCV takes half the time of TensorFlow's operations for the same
and lets go of Python's lock meanwhile.
"""

import concurrent.futures
import os
import threading
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from ccsn_tf.config import Config, ModelConfig
from ccsn_tf.data.flow import grey_of, make_estimator, quantise
from ccsn_tf.data.frames import count_frames, iter_flow, iter_frames
from ccsn_tf.data.prepare.encode import encode_field, encode_frame, flow_failure, refuse_few_frames
from ccsn_tf.data.records.record import read_jpegs
from ccsn_tf.data.sampling import box_on_field, centre_starts, middle_frame
from ccsn_tf.errors import UserError

Snippets = dict[str, list]
"""Nested lists by name of input: `rgb`, K frames, the middle one of each snippet, and `flow`, K times L fields; or
`frames`, K times L + 1. Frames are uint8 (H, W, 3), fields uint8 (2, h, w), x and y, quantised. Snippets that overlap
share their arrays."""

_ALIGNMENT = 64  # bytes: TensorFlow takes such arrays without copying


class InputForm:
    """The input of a model by name: `rgb` uint8 (K, S, S, 3) and `flow` uint8 (K, S, S, 2L), channels x1, y1, x2, ...;
    of a model that computes flow itself, `frames` uint8 (K, L + 1, S, S, 3) alone.
    """

    def __init__(self, model: ModelConfig):
        self._length, self._size = model.flow_length, model.image_size
        self._computes_flow = model.flow_source == "graph"

    def shapes(self, leading: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """Of the arrays with these leading axes, K the last of them, by name."""
        size = (self._size, self._size)
        if self._computes_flow:
            return {"frames": (*leading, self._length + 1, *size, 3)}
        return {"rgb": (*leading, *size, 3), "flow": (*leading, *size, 2 * self._length)}

    def empty(self, leading: Sequence[int]) -> dict[str, np.ndarray]:
        """Arrays of these shapes, to be written."""
        return {name: _aligned(shape) for name, shape in self.shapes(leading).items()}

    def of_video(
        self, path: str, config: Config, num_segments: int, beat: Callable[[], None] = lambda: None
    ) -> Snippets:
        """Snippets that are evenly spaced over a video, as its record would have them, but for the JPEG.

        Only the frames that are looked at are converted, and flow is computed for them alone.

        Args:
            path: the video, or the folder of its frames.
            config: how frames and flow are made.
            num_segments: K.
            beat: called often while it gets on.

        Raises:
            VideoError: the video cannot be used, or is shorter than a snippet.
        """
        stride, frames, fields = config.data.flow_stride, {}, {}
        num_frames = count_frames(path, beat)
        refuse_few_frames(path, num_frames, self._length, stride)
        starts = centre_starts((num_frames - 1) // stride, num_segments, self._length)
        places = {name: stride * indices for name, indices in self._places(starts).items()}
        leaves = np.unique(places.get("flow", [])).astype(int)
        wanted = np.unique(np.concatenate([part.ravel() for part in (*places.values(), leaves + 1)])).tolist()
        for index, frame in zip(wanted, iter_frames(path, config.data.short_side, wanted), strict=True):
            frames[index] = frame
            beat()
        if not self._computes_flow:
            for index, field in zip(leaves.tolist(), _fields(path, frames, leaves.tolist(), config.data), strict=True):
                fields[index] = field.transpose(2, 0, 1)
                beat()
        return _picked(places, frames, fields)

    def of_record(self, file: str | bytes, directory: int, num_fields: int, starts: np.ndarray) -> Snippets:
        """Snippets of a clip's record, of which only their JPEGs are read and decoded. Safe in threads.

        Args:
            file: the record; with `directory` and `num_fields` as in `read_jpegs`.
            starts: int (K,), ascending: first flow field of each snippet.
        """
        places = self._places(starts)
        parts = places.get("rgb", places.get("frames")), places.get("flow", [])
        frames, fields = (np.unique(part).astype(int).tolist() for part in parts)
        jpegs = read_jpegs(file, directory, num_fields, frames, fields)
        frames = dict(zip(frames, map(decode_frame, jpegs[0]), strict=True))
        return _picked(places, frames, dict(zip(fields, map(decode_field, jpegs[1]), strict=True)))

    def _places(self, starts):
        """The indices of frames and fields by name of input, each int (K,) or (K, L) or (K, L + 1)."""
        if self._computes_flow:
            return {"frames": starts[:, None] + np.arange(self._length + 1)}
        return {"rgb": middle_frame(starts, self._length), "flow": starts[:, None] + np.arange(self._length)}

    def write(self, snippets: Snippets, box: Sequence[int], mirrored: bool, out: dict[str, np.ndarray]) -> None:
        """Crops, mirrors and scales frames and fields alike; bilinear, without antialiasing.

        Args:
            snippets: K of them.
            box: top, left, height, width of what to keep, in pixels of the frames.
            mirrored: a mirrored x-flow v becomes 255 - v (METHOD, Sampling).
            out: receives the view; arrays of `shapes((K,))`.
        """

        def scaled(image, box):
            top, left, height, width = box
            part = cv2.resize(image[top : top + height, left : left + width], (self._size, self._size))
            return cv2.flip(part, 1) if mirrored else part

        for number, frame in enumerate(snippets.get("rgb", ())):
            out["rgb"][number] = scaled(frame, box)
        for number, snippet in enumerate(snippets.get("frames", ())):
            for place, frame in enumerate(snippet):
                out["frames"][number, place] = scaled(frame, box)
        if "flow" in snippets:
            box = box_on_field(box, frame_size(snippets), snippets["flow"][0][0].shape[1:])
        for number, snippet in enumerate(snippets.get("flow", ())):
            planes = [scaled(plane, box) for field in snippet for plane in field]
            if mirrored:
                planes[0::2] = [cv2.bitwise_not(plane) for plane in planes[0::2]]
            cv2.merge(planes, dst=out["flow"][number])


def frame_size(snippets: Snippets) -> tuple[int, int]:
    """Height and width of the frames."""
    return (snippets["rgb"][0] if "rgb" in snippets else snippets["frames"][0][0]).shape[:2]


def to_jpegs(snippets: Snippets, quality: int) -> dict[str, list]:
    """The JPEGs that a record would hold, in place of the arrays; shared as they are."""

    def of_field(field):
        return encode_field(field.transpose(1, 2, 0), quality)

    return _each(snippets, lambda frame: encode_frame(frame, quality), of_field)


def from_jpegs(jpegs: dict[str, list]) -> Snippets:
    """What `to_jpegs` gave, decoded."""
    decoders = (decode_frame, decode_field)
    return _each(jpegs, *(lambda jpeg, decode=decode: decode(np.frombuffer(jpeg, np.uint8)) for decode in decoders))


def decode_frame(jpeg: np.ndarray) -> np.ndarray:
    """A frame's JPEG, uint8 (bytes,), to uint8 RGB (H, W, 3)."""
    return _decoded(jpeg, cv2.IMREAD_COLOR_RGB)


def decode_field(jpeg: np.ndarray) -> np.ndarray:
    """A flow field's JPEG, uint8 (bytes,), to uint8 (2, h, w)."""
    stacked = _decoded(jpeg, cv2.IMREAD_GRAYSCALE)
    return stacked.reshape(2, -1, stacked.shape[1])


def _decoded(jpeg, flags):
    image = cv2.imdecode(jpeg, flags)
    if image is None:
        raise UserError("a record holds a damaged JPEG: prepare again into another --record_dir")
    return image


def _fields(path, frames, leaves, data):
    """Yields the quantised fields, uint8 (H, W, 2), that leave these frames."""
    if data.flow == "stored" and os.path.isdir(path):
        yield from iter_flow(path, data.short_side, leaves)
        return
    greys, own = {index: grey_of(frame) for index, frame in frames.items()}, threading.local()

    def field(index):
        if not hasattr(own, "estimate"):  # it holds buffers: one a thread
            own.estimate = make_estimator(data)
        return quantise(own.estimate(greys[index], greys[index + 1]), data.flow_bound)

    # As many threads as OpenCV may use, which is one in processes that share the cores among them. Its own threads gain
    # nothing on pictures of this size.
    try:
        with concurrent.futures.ThreadPoolExecutor(max(1, cv2.getNumThreads())) as pool:
            yield from pool.map(field, leaves)
    except cv2.error as error:
        raise flow_failure(path, data, *frames[leaves[0]].shape[:2], error) from None


def _picked(places, frames, fields):
    """Arrays in place of indices."""
    lists = {name: indices.tolist() for name, indices in places.items()}
    return _each(lists, frames.__getitem__, fields.__getitem__)


def _each(snippets: dict[str, list], of_frame: Callable, of_field: Callable) -> dict[str, list]:
    """Frames and fields through these functions, which are called once for what stands in several places."""

    def through(item, function, made):
        if isinstance(item, list):
            return [through(part, function, made) for part in item]
        if id(item) not in made:
            made[id(item)] = function(item)
        return made[id(item)]

    return {name: through(items, of_field if name == "flow" else of_frame, {}) for name, items in snippets.items()}


def _aligned(shape):
    size = int(np.prod(shape))
    raw = np.empty(size + _ALIGNMENT, np.uint8)
    begin = -raw.ctypes.data % _ALIGNMENT
    return raw[begin : begin + size].reshape(shape)
