"""The record of a clip: a `tf.train.Example` of JPEG frames and JPEG flow fields, in TFRecord files.

    name    bytes        the clip's name
    rgb     bytes (N+1,) JPEG, colour, (H, W)
    flow    bytes (N,)   JPEG, grey, (2H, W): x above y, quantised; field i goes from frame i to frame i + 1

Records are found by file, offset and length, which the manifest holds: the reader seeks to a clip and reads no other.
"""

from __future__ import annotations

import cv2
import numpy as np
import tensorflow as tf

from ccsn_tf.config import DataConfig
from ccsn_tf.data.flow import Estimator, flow_fields, quantise
from ccsn_tf.data.video import VideoError, iter_frames

# A TFRecord frames each record with a length and its checksum before, and a checksum behind (TensorFlow, TFRecord).
HEADER_BYTES = 12
FOOTER_BYTES = 4

MAX_BYTES = 2**31 - 2**24  # a protocol buffer ends at 2 GiB; the rest is for its own bookkeeping


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
    rgb, flow, size = [], [], {}

    def stored(frames):  # a frame is kept as JPEG alone: long videos would not fit into memory
        for frame in frames:
            rgb.append(_jpeg(frame[..., ::-1], config.jpeg_quality))
            size["height"], size["width"] = frame.shape[:2]
            yield frame

    try:
        for field in flow_fields(stored(iter_frames(path, config.short_side)), estimator):
            field = quantise(field, config.flow_bound)
            flow.append(_jpeg(np.concatenate([field[..., 0], field[..., 1]]), config.jpeg_quality))
    except cv2.error as error:
        raise VideoError(
            f"{path}: --flow={config.flow} fails on frames of {size['width']}x{size['height']} pixels "
            f"({error.err or error}): leave the video out, or make it larger."
        ) from None
    if len(flow) < min_fields:
        raise VideoError(
            f"{path} has {len(rgb)} frame{'s' if len(rgb) > 1 else ''}: a snippet of --flow_length={min_fields} "
            f"flow fields needs {min_fields + 1}."
        )
    if sum(map(len, rgb + flow)) > MAX_BYTES:
        raise VideoError(f"{path} is too long for a record, with {len(rgb)} frames: cut it into shorter videos.")
    features = {"name": [name.encode()], "rgb": rgb, "flow": flow}
    example = tf.train.Example(
        features=tf.train.Features(
            feature={key: tf.train.Feature(bytes_list=tf.train.BytesList(value=v)) for key, v in features.items()}
        )
    )
    # Without `deterministic` the order of the features differs from process to process.
    return example.SerializeToString(deterministic=True), {"fields": len(flow), **size}


def _jpeg(image: np.ndarray, quality: int) -> bytes:
    _, encoded = cv2.imencode(".jpg", np.ascontiguousarray(image), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return encoded.tobytes()


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
