"""The record of a clip: a `tf.train.Example` of JPEG frames and JPEG flow fields, in TFRecord files.

    name    bytes        the clip's name
    rgb     bytes (N+1,) JPEG, colour, (H, W)
    flow    bytes (N,)   JPEG, grey, (2H, W): x above y, quantised; field i goes from frame i to frame i + 1

Records are found by file, offset and length, which the manifest holds: the reader seeks to a clip and reads no other.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import tensorflow as tf

from ccsn_tf.config import DataConfig
from ccsn_tf.data.flow import Estimator, flow_fields, quantise
from ccsn_tf.data.video import VideoError, iter_frames

# A TFRecord frames each record with a length and its checksum before, and a checksum behind (TensorFlow, TFRecord).
HEADER_BYTES = 12
FOOTER_BYTES = 4


def encode_clip(path: str, name: str, estimator: Estimator, config: DataConfig, min_fields: int) -> tuple[bytes, dict]:
    """Decodes a video, computes its flow and serialises both.

    Args:
        path: the video.
        name: the clip's name, kept in the record.
        estimator: from `make_estimator`.
        config: sizes, bound and quality.
        min_fields: fewest flow fields that the clip must have.

    Returns:
        The serialised Example, and {"fields": N, "height": H, "width": W}.

    Raises:
        VideoError: the video cannot be used, or is too short.
    """
    frames = list(iter_frames(path, config.short_side))
    if len(frames) <= min_fields:
        raise VideoError(
            f"{path} has {len(frames)} frame{'s' if len(frames) > 1 else ''}: a snippet of --flow_length={min_fields} "
            f"flow fields needs {min_fields + 1}."
        )
    if len({frame.shape for frame in frames}) > 1:
        raise VideoError(f"{path} changes its frame size: re-encode it to one size.")
    fields = (quantise(field, config.flow_bound) for field in flow_fields(frames, estimator))
    features = {
        "name": [name.encode()],
        "rgb": list(_encode_jpegs((frame[..., ::-1] for frame in frames), config.jpeg_quality)),
        "flow": list(_encode_jpegs((np.concatenate([f[..., 0], f[..., 1]]) for f in fields), config.jpeg_quality)),
    }
    example = tf.train.Example(
        features=tf.train.Features(
            feature={key: tf.train.Feature(bytes_list=tf.train.BytesList(value=v)) for key, v in features.items()}
        )
    )
    height, width = frames[0].shape[:2]
    return example.SerializeToString(), {"fields": len(features["flow"]), "height": height, "width": width}


def _encode_jpegs(images, quality: int) -> Iterator[bytes]:
    for image in images:
        _, encoded = cv2.imencode(".jpg", np.ascontiguousarray(image), [cv2.IMWRITE_JPEG_QUALITY, quality])
        yield encoded.tobytes()


def read_record(path: tf.Tensor, offset: tf.Tensor, length: tf.Tensor, size: tf.Tensor) -> dict[str, tf.Tensor]:
    """Reads one clip's record out of a file, as graph operations that seek (local or remote files alike).

    Args:
        path: string scalar, the TFRecord file.
        offset: int64 scalar, where the record's frame begins.
        length: int64 scalar, bytes of the serialised Example.
        size: int64 scalar, bytes of the file.

    Returns:
        {"name": string scalar, "rgb": string (N+1,), "flow": string (N,)}.
    """
    start = offset + HEADER_BYTES
    record = tf.data.FixedLengthRecordDataset(
        path, record_bytes=length, header_bytes=start, footer_bytes=size - start - length
    ).get_single_element()
    strings = tf.io.RaggedFeature(tf.string)
    return tf.io.parse_single_example(
        record, {"name": tf.io.FixedLenFeature([], tf.string), "rgb": strings, "flow": strings}
    )
