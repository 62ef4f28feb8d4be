"""Exported models that watch a stream. Those that are asked about videos: client/test_frames_client.py."""

import shutil
import threading

import numpy as np
import pytest
import tensorflow as tf

from ccsn_tf.errors import UserError
from ccsn_tf.serving.local import exported_stream, is_workdir
from ccsn_tf.serving.saved_model.session import SavedModel
from ccsn_tf.streaming.source import open_source
from ccsn_tf.streaming.stream_model import TrainedModel
from ccsn_tf.streaming.watch import WatchSettings, watch


def test_exports_answer_as_the_trained_model(exported, onnx_export, moving_video):
    assert is_workdir(exported.config.train.workdir) and not is_workdir(exported.path)

    def answers(model):
        found, settings = [], WatchSettings(window=0.4, every=0.1)
        watch(model, open_source(moving_video), settings, threading.Event(), lambda *each: found.append(each))
        return [answer.outputs for answer, _ in found]

    trained = answers(TrainedModel(exported.model, exported.config))
    for path in (exported.folder, onnx_export("fp32").path):
        found = answers(exported_stream(str(path)))
        assert len(found) == len(trained) >= 4
        for ours, theirs in zip(trained, found, strict=True):
            assert len(ours.keys() & theirs.keys()) >= 5
            for output in ours.keys() & theirs.keys():
                np.testing.assert_allclose(theirs[output], ours[output], atol=1e-5)


def test_exports_that_cannot_watch(exported, onnx_export, tmp_path):
    with pytest.raises(UserError, match="absent is missing"):
        exported_stream(str(tmp_path / "absent"))
    for precision in ("fp16", "int8"):
        with pytest.raises(
            UserError, match=rf"{precision}\.onnx has no model\.{precision}\.snippet\.onnx and .* beside"
        ):
            exported_stream(str(onnx_export(precision).path))
    (tmp_path / "a.plan").touch()
    with pytest.raises(UserError, match=r"a\.plan knows clips alone"):
        exported_stream(str(tmp_path / "a.plan"))
    holder = tf.Module()
    function = tf.function(lambda x: {"y": x}).get_concrete_function(tf.TensorSpec((), tf.float32))
    tf.saved_model.save(holder, str(tmp_path / "old"), signatures={"serving_default": function})
    shutil.copytree(exported.path / "assets.extra", tmp_path / "old" / "assets.extra")
    with pytest.raises(UserError, match="old has no signatures snippet and answer: export it again"):
        exported_stream(str(tmp_path / "old"))
    with pytest.raises(UserError, match="old has no signature jpeg: export it again"):
        SavedModel(str(tmp_path / "old")).call("jpeg", {})
