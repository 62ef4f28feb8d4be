"""The record of a clip: a `tf.train.Example` of JPEG frames and JPEG flow fields, in TFRecord files.

    name    bytes        the clip's name
    rgb     bytes (N+1,) JPEG, colour, (H, W)
    flow    bytes (N,)   JPEG, grey, (2H, W): x above y, quantised; field i goes from frame i to the video's next

Records are found by file, offset and length, which the manifest holds: the reader seeks to a clip and reads no other.
"""

from __future__ import annotations

import tensorflow as tf

from ccsn_tf.data.encode import EncodedClip

# A TFRecord frames each record with a length and its checksum before, and a checksum behind (TensorFlow, TFRecord).
HEADER_BYTES = 12
FOOTER_BYTES = 4


def serialise(name: str, clip: EncodedClip) -> bytes:
    """The serialised Example of a clip; equal clips give equal bytes."""
    features = {"name": [name.encode()], "rgb": clip.rgb, "flow": clip.flow}
    example = tf.train.Example(
        features=tf.train.Features(
            feature={key: tf.train.Feature(bytes_list=tf.train.BytesList(value=v)) for key, v in features.items()}
        )
    )
    # Without `deterministic` the order of the features differs from process to process.
    return example.SerializeToString(deterministic=True)


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
