"""Exported models that watch a stream."""

import shutil
import threading

import numpy as np
import pytest
import tensorflow as tf

from ccsn_tf.errors import UserError
from ccsn_tf.serving.watched import SavedStream, is_workdir
from ccsn_tf.streaming.model import TrainedModel
from ccsn_tf.streaming.source import open_source
from ccsn_tf.streaming.watch import WatchSettings, watch


def test_an_export_answers_as_the_trained_model(exported, moving_video):
    assert is_workdir(exported.config.train.workdir) and not is_workdir(exported.path)

    def answers(model):
        found, settings = [], WatchSettings(window=0.4, every=0.1)
        watch(model, open_source(moving_video), settings, threading.Event(), lambda *each: found.append(each))
        return [answer.outputs for answer, _ in found]

    found = [answers(TrainedModel(exported.model, exported.config)), answers(SavedStream(str(exported.folder)))]
    assert len(found[0]) == len(found[1]) >= 4
    for ours, theirs in zip(*found, strict=True):
        for output in ours.keys() & theirs.keys():
            np.testing.assert_allclose(theirs[output], ours[output], atol=1e-5)


def test_exports_that_cannot_watch(exported, tmp_path):
    with pytest.raises(UserError, match="absent is missing"):
        SavedStream(str(tmp_path / "absent"))
    (tmp_path / "a.onnx").touch()
    with pytest.raises(UserError, match=r"a\.onnx has no signatures"):
        SavedStream(str(tmp_path / "a.onnx"))
    holder = tf.Module()
    function = tf.function(lambda x: {"y": x}).get_concrete_function(tf.TensorSpec((), tf.float32))
    tf.saved_model.save(holder, str(tmp_path / "old"), signatures={"serving_default": function})
    shutil.copytree(exported.path / "assets.extra", tmp_path / "old" / "assets.extra")
    with pytest.raises(UserError, match="old has no signatures snippet and answer: export it again"):
        SavedStream(str(tmp_path / "old"))
