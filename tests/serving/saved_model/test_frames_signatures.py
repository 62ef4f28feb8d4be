"""The exported model that takes frames: its signatures, what they answer, what they refuse."""

import cv2
import numpy as np
import pytest
import tensorflow as tf
from serving_requests import encoded, textured
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis import prediction_log_pb2

from ccsn_tf.config import ModelConfig
from ccsn_tf.data.sampling import view_boxes
from ccsn_tf.data.views import InputForm
from ccsn_tf.serving.client.config import client_config
from ccsn_tf.serving.clips import clips_to_try
from ccsn_tf.serving.saved_model.decoding import decode_frames, scale_frames

WIDTH = 96  # of a snippet's features


def test_what_was_verified(exported_frames):
    report = exported_frames.verification
    assert report["batches"] == [1, 3, 7] and report["segments"] == [2, 4]
    assert set(report["largest"]) == {"serving_default", "frames", "jpeg_frames", "embed", "snippet", "answer"}
    assert all(0 <= difference <= 1e-4 for difference in report["largest"].values())


def test_names_types_and_shapes(exported_frames):
    graph = SavedModel.FromString((exported_frames.path / "saved_model.pb").read_bytes()).meta_graphs[0]
    found = {
        name: {
            key: (tf.dtypes.as_dtype(info.dtype).name, tuple(dim.size for dim in info.tensor_shape.dim))
            for key, info in definition.inputs.items()
        }
        for name, definition in graph.signature_def.items()
        if name[0] != "_"
    }
    arrays = {"frames": ("uint8", (-1, -1, 3, -1, -1, 3))}
    assert found == {
        **dict.fromkeys(("serving_default", "frames", "embed"), arrays),
        "jpeg_frames": {"frames": ("string", (-1, -1, 3))},
        "snippet": {"frames": ("uint8", (-1, 3, -1, -1, 3))},
        "answer": dict.fromkeys(("spatial", "temporal"), ("float32", (-1, -1, WIDTH))),
        "metadata": {"request": ("int32", (-1,))},
    }


def test_metadata_says_that_frames_are_taken(exported_frames):
    metadata = dict(exported_frames.metadata)
    assert (metadata["flow_source"], metadata["format"]) == ("graph", 1)
    assert metadata["preprocessing"] == {"short_side": 32, "flow_stride": 1, "jpeg_quality": 95}
    assert metadata["layout"].keys() == {"frames", "jpeg", "crop", "sampling"}
    limits = {"segments_a_request": 64, "pixels_a_jpeg": 2**22, "pixels_a_request": 2**28, "scans_a_jpeg": 16}
    assert metadata["limits"] == limits
    assert client_config(metadata).model.flow_source == "graph"
    del metadata["flow_source"]  # as exports have it that were written before there was a choice
    assert client_config(metadata).model.flow_source == "stored"


def test_every_signature_that_costs_is_warmed_up(exported_frames):
    records = tf.data.TFRecordDataset(str(exported_frames.path / "assets.extra" / "tf_serving_warmup_requests"))
    logs = [prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in records]
    requests = [log.predict_log.request for log in logs]
    shapes = {
        request.model_spec.signature_name: {
            name: tf.make_ndarray(value).shape for name, value in request.inputs.items()
        }
        for request in requests
    }
    assert shapes.pop("answer") == dict.fromkeys(("spatial", "temporal"), (1, 3, WIDTH))
    arrays = {"frames": (1, 2, 3, 32, 32, 3)}
    assert shapes == {
        "jpeg_frames": {"frames": (1, 3, 3)},
        **dict.fromkeys(("serving_default", "frames", "embed"), arrays),
        "snippet": {"frames": (2, 3, 32, 32, 3)},
    }


@tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)])
def scaled(frames):
    """Of frames whose size is not known beforehand, as in the signature."""
    return scale_frames(frames, 32)


@pytest.mark.parametrize("height, width", [(32, 32), (36, 48), (75, 50), (9, 7)])
def test_frames_of_any_size_are_cropped_and_scaled_as_for_training(height, width):
    frames = np.stack([textured(height, width, 3, seed=seed) for seed in range(4)])
    ((box, mirrored),) = view_boxes(height, width, 1)
    form = InputForm(ModelConfig(flow_source="graph", flow_length=3, image_size=32))
    expected = form.empty((1,))
    form.write({"frames": [list(frames)]}, box, mirrored, expected)
    np.testing.assert_array_equal(scaled(tf.constant(frames)), expected["frames"][0])


def test_jpegs_are_the_pictures_of_the_pipeline(exported_frames):
    with clips_to_try(exported_frames.config, tuple(exported_frames.model.classes), 4, True) as clips:
        arrays, jpegs = clips.arrays(3)["frames"], clips.jpegs(3)["frames"]
    decoded = tf.function(decode_frames)(tf.constant(jpegs.reshape(-1, 3)), exported_frames.metadata["image_size"])
    assert np.ptp(arrays) > 100
    np.testing.assert_array_equal(decoded, arrays.reshape(decoded.shape))


def test_snippets_may_differ_in_size():
    jpegs = [[encoded(textured(*size, 3, seed=i)) for i in range(3)] for size in ((40, 30), (33, 61))]
    decode = tf.function(decode_frames)
    together = decode(tf.constant(jpegs), 16)
    for number in range(2):
        np.testing.assert_array_equal(together[number], decode(tf.constant(jpegs[number : number + 1]), 16)[0])
    frame = cv2.imdecode(np.frombuffer(jpegs[0][2], np.uint8), cv2.IMREAD_COLOR)[5:35, :, ::-1]
    assert np.abs(together[0, 2].numpy().astype(int) - cv2.resize(frame, (16, 16))).max() <= 3
