"""The record of a clip: a `tf.train.Example` of JPEG frames and JPEG flow fields, in TFRecord files.

    name    bytes        the clip's name
    rgb     bytes (N+1,) JPEG, colour, (H, W)
    flow    bytes (N,)   JPEG, grey, (2H, W): x above y, quantised; field i goes from frame i to frame i + 1

Records are found by file, offset and length, which the manifest holds: the reader seeks to a clip and reads no other.
"""

from __future__ import annotations

import tensorflow as tf

from ccsn_tf.data.tfrecord import HEADER_BYTES


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
