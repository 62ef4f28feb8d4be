"""A clip to what an exported model takes, pixel for pixel what the signature `jpeg` makes of it. No TensorFlow.

Frames and flow of a video go through JPEG, as those of training and those that `serving.client` sends have gone.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.data.augment import view_boxes
from ccsn_tf.data.encode import encode_field, encode_frame, refuse_few_frames
from ccsn_tf.data.manifest import StoredClip
from ccsn_tf.data.sampling import centre_starts
from ccsn_tf.data.snippets import Snippets, record_snippets, video_snippets
from ccsn_tf.data.stopwatch import Stopwatch
from ccsn_tf.data.transform import decode_field, decode_frame, network_input


@dataclasses.dataclass(frozen=True)
class VideoFile:
    """A video, or the folder of its frames; `name` is what the predictions call it."""

    name: str
    path: str

    def snippets(self, config: Config, num_segments: int, watch: Stopwatch) -> Snippets:
        """Stages: decode, flow, JPEG."""
        frames, fields = video_snippets(self.path, config, num_segments, watch)
        with watch.stage("JPEG"):
            jpegs = snippet_jpegs(frames, fields, config.data.jpeg_quality)
            decoded = {}  # as many snippets of a short video overlap, so do their JPEGs
            return (
                [_decoded(jpeg, decode_frame, decoded) for jpeg in jpegs[0]],
                [[_decoded(jpeg, decode_field, decoded) for jpeg in row] for row in jpegs[1]],
            )


@dataclasses.dataclass(frozen=True)
class StoredRecord:
    """A clip in prepared records; `name` is the clip's."""

    name: str
    clip: StoredClip
    record_dir: str

    def snippets(self, config: Config, num_segments: int, watch: Stopwatch) -> Snippets:
        """Stage: JPEG."""
        clip, length = self.clip, config.model.flow_length
        refuse_few_frames(self.name, clip.fields + 1, length, 1)
        starts, shard = centre_starts(clip.fields, num_segments, length), os.path.join(self.record_dir, clip.shard)
        with watch.stage("JPEG"):
            return record_snippets(shard, clip.offset, clip.length, clip.fields, starts, length)


@dataclasses.dataclass(frozen=True)
class ClipInput:
    """The network's input, `rgb` uint8 (K, S, S, 3) and `flow` uint8 (K, S, S, 2L), and {stage: seconds} it took."""

    rgb: np.ndarray
    flow: np.ndarray
    seconds: dict[str, float]


def make_input(
    item: VideoFile | StoredRecord, beat: Callable[[], None], config: Config, num_segments: int
) -> ClipInput:
    """What a worker process does with a clip.

    Args:
        item: the clip.
        beat: called often while it gets on.
        config: from `client_config`.
        num_segments: K.

    Raises:
        UserError: the video or its record cannot be used.
    """
    cv2.setNumThreads(1)  # one process a core: more threads would only wait for one another
    watch = Stopwatch(beat)
    frames, fields = item.snippets(config, num_segments, watch)
    beat()
    with watch.stage("crop"):
        box, mirrored = view_boxes(*frames[0].shape[:2], 1)[0]
        rgb, flow = network_input(frames, fields, box, mirrored, config.model.image_size)
    return ClipInput(rgb, flow, watch.seconds)


def snippet_jpegs(
    frames: Sequence[np.ndarray], fields: Sequence[Sequence[np.ndarray]], quality: int
) -> tuple[list[bytes], list[list[bytes]]]:
    """Frames and fields, as of `video_snippets`, as the JPEGs that a record would hold; shared as they are."""
    made = {}

    def jpeg(image, encode):
        if id(image) not in made:
            made[id(image)] = encode(image, quality)
        return made[id(image)]

    def encode_planes(field, quality):
        return encode_field(field.transpose(1, 2, 0), quality)

    rgb = [jpeg(frame, encode_frame) for frame in frames]
    return rgb, [[jpeg(field, encode_planes) for field in row] for row in fields]


def _decoded(jpeg, decode, known):
    if id(jpeg) not in known:
        known[id(jpeg)] = decode(np.frombuffer(jpeg, np.uint8))
    return known[id(jpeg)]
