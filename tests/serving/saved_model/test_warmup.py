"""Warm-up requests, read as TensorFlow Serving reads them."""

import builtins

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from ccsn_tf.errors import UserError
from ccsn_tf.serving.saved_model.export import write_warmup
from ccsn_tf.serving.saved_model.fresh_process import Request


@pytest.fixture(scope="module")
def logs(exported):
    path = exported.path / "assets.extra" / "tf_serving_warmup_requests"
    return [
        prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path))
    ]


def test_every_signature_that_costs_is_run_once(logs):
    assert [log.WhichOneof("log_type") for log in logs] == ["predict_log"] * 5
    requests = [log.predict_log.request for log in logs]
    names = [request.model_spec.signature_name for request in requests]
    assert names == ["jpeg", "serving_default", "embed", "snippet", "answer"]
    assert not any(request.output_filter for request in requests)  # the server prepares itself for a set of outputs


def test_they_are_of_real_clips_and_answered(exported, logs):
    model = tf.saved_model.load(str(exported.path))
    for log in logs:
        request = log.predict_log.request
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        name = request.model_spec.signature_name
        leading = {"jpeg": (1, 3), "answer": (1, 3), "snippet": (2, 32)}.get(name, (1, 2))
        assert {value.shape[:2] for value in inputs.values()} == {leading}
        outputs = model.signatures[name](**inputs)
        assert all(len(value) == leading[0] for value in outputs.values())


def test_equal_requests_give_equal_files(tmp_path):
    inputs = {name: np.zeros((1, 2), np.uint8) for name in ("flow", "rgb", "a", "z")}
    for name in ("one", "two"):
        write_warmup(tmp_path / name, [Request("embed", inputs)])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_without_the_package(monkeypatch, tmp_path):
    load = builtins.__import__

    def absent(name, *arguments):
        if name.startswith("tensorflow_serving"):
            raise ImportError(name)
        return load(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(UserError, match=r"\[serving\].*--nowarmup"):
        write_warmup(tmp_path / "requests", [])
    assert not (tmp_path / "requests").exists()
