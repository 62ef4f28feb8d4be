"""Warm-up requests: TensorFlow Serving replays them when it loads a model, so that no caller pays for the first run."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import tensorflow as tf

from ccsn_tf.errors import UserError
from ccsn_tf.serving.client.config import ARRAY_SIGNATURES, JPEG_SIGNATURES
from ccsn_tf.serving.clips import Clips
from ccsn_tf.serving.saved_model.exchange import Request

FILE_NAME = "tf_serving_warmup_requests"


def warmup_requests(clips: Clips, metadata: dict) -> list[Request]:
    """One clip for each signature, with the segments that clients are told to send; arrays with those of training."""
    arrays, jpegs = clips.arrays(metadata["segments_in_training"]), clips.jpegs(metadata["segments"])
    one, told = ({name: value[:1] for name, value in inputs.items()} for inputs in (arrays, jpegs))
    source = metadata["flow_source"]
    return [Request(JPEG_SIGNATURES[source], told), *(Request(name, one) for name in ARRAY_SIGNATURES[source])]


def write_warmup(path: pathlib.Path, requests: Sequence[Request]) -> None:
    """Writes `assets.extra/tf_serving_warmup_requests`: a TFRecord file of `PredictionLog`s.

    The model's name in them is empty: the server does not look at it.

    Raises:
        UserError: tensorflow-serving-api is not installed.
    """
    try:
        from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
    except ImportError:
        raise UserError(
            "Warm-up requests need tensorflow-serving-api: pip install -c constraints.txt -e '.[serving]', or pass "
            "--nowarmup."
        ) from None
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for request in requests:
            predict = predict_pb2.PredictRequest()
            predict.model_spec.signature_name = request.signature
            for name, value in request.inputs.items():
                predict.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=predict))
            writer.write(log.SerializeToString(deterministic=True))
