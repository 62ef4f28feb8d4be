"""A clip to what an exported model takes: arrays, pixel for pixel what its JPEG signature makes of it, or the JPEGs.

What is taken from a video goes through JPEG, as what training saw and `serving.client` sends has gone.
"""

import dataclasses
import os
from collections.abc import Callable

import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.data.prepare.encode import refuse_few_frames
from ccsn_tf.data.records.manifest import StoredClip
from ccsn_tf.data.sampling import centre_starts, view_boxes
from ccsn_tf.data.views import InputForm, frame_size, from_jpegs, to_jpegs


@dataclasses.dataclass(frozen=True)
class VideoFile:
    """A video, or the folder of its frames; `name` is what the predictions call it."""

    name: str
    path: str

    def snippets(self, form: InputForm, config: Config, num_segments: int, beat: Callable[[], None]):
        """See `InputForm.of_video`."""
        return from_jpegs(to_jpegs(form.of_video(self.path, config, num_segments, beat), config.data.jpeg_quality))


@dataclasses.dataclass(frozen=True)
class StoredRecord:
    """A clip in prepared records; `name` is the clip's."""

    name: str
    clip: StoredClip
    record_dir: str

    def snippets(self, form: InputForm, config: Config, num_segments: int, _: Callable[[], None]):
        """See `InputForm.of_record`."""
        clip, length = self.clip, config.model.flow_length
        refuse_few_frames(self.name, clip.fields + 1, length, 1)
        starts, file = centre_starts(clip.fields, num_segments, length), os.path.join(self.record_dir, clip.file)
        return form.of_record(file, clip.directory, clip.fields, starts)


def network_input(
    item: VideoFile | StoredRecord, config: Config, num_segments: int, beat: Callable[[], None] = lambda: None
) -> dict[str, np.ndarray]:
    """The network's input, {name: uint8 (K, ...)}, see `InputForm`.

    Args:
        config: from `client_config`.
        num_segments: K.
        beat: called often while it gets on.

    Raises:
        UserError: the video or its record cannot be used.
    """
    form = InputForm(config.model)
    snippets = item.snippets(form, config, num_segments, beat)
    box, mirrored = view_boxes(*frame_size(snippets), 1)[0]
    arrays = form.empty((num_segments,))
    form.write(snippets, box, mirrored, arrays)
    return arrays


def jpeg_inputs(path: str, config: Config, segments: int) -> dict[str, np.ndarray]:
    """One video as a signature of JPEGs takes it, bytes in object arrays.

    Returns:
        With K `segments`, rgb (K,) and flow (K, L); of a model that computes flow, frames (K, L + 1) alone.

    Raises:
        VideoError: the video cannot be used.
    """
    jpegs = to_jpegs(InputForm(config.model).of_video(path, config, segments), config.data.jpeg_quality)
    return {name: np.array(values, object) for name, values in jpegs.items()}
