import numpy as np
import pytest
import tensorflow as tf

from ccsn_tf.data.records.read import FOOTER_BYTES, HEADER_BYTES
from ccsn_tf.data.records.write import example, framed

FEATURES = [
    {"name": [b"jump/a"], "rgb": [b"abc", b"", b"\x00\xff"], "flow": [b"x" * 200]},
    {"rgb": [bytes(70000)] * 40, "flow": [], "name": ["größer".encode()]},
    {"empty": []},
    {},
]


@pytest.mark.parametrize("features", FEATURES)
def test_example_is_tensorflows_byte_for_byte(features):
    lists = {key: tf.train.BytesList(value=values) for key, values in features.items()}
    features_proto = tf.train.Features(feature={key: tf.train.Feature(bytes_list=v) for key, v in lists.items()})
    expected = tf.train.Example(features=features_proto).SerializeToString(deterministic=True)
    assert example(features) == expected


@pytest.mark.parametrize("length", [0, 1, 3, 4, 16, 1000, 100001])
def test_frame_is_tensorflows_byte_for_byte(length, tmp_path):
    record = np.random.default_rng(length).bytes(length)
    with tf.io.TFRecordWriter(str(tmp_path / "one.tfrecord")) as writer:
        writer.write(record)
    assert framed(record) == (tmp_path / "one.tfrecord").read_bytes()
    assert len(framed(record)) == HEADER_BYTES + length + FOOTER_BYTES
