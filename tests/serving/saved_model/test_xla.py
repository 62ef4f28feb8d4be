"""Exports whose flow is compiled where the model runs."""

import kept_models
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from ccsn_tf.errors import UserError
from ccsn_tf.serving.clips import clips_to_try
from ccsn_tf.serving.saved_model import export as saved_model
from ccsn_tf.serving.saved_model.export import export_saved_model
from ccsn_tf.serving.saved_model.signatures import ServedFrames


def compiled_functions(path):
    graph = SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs[0].graph_def
    return sum(function.attr["_XlaMustCompile"].b for function in graph.library.function)


@pytest.mark.slow
def test_only_where_it_is_asked_for_with_the_same_answers(exported_frames, frames_config, tmp_path):
    assert not compiled_functions(exported_frames.path) and exported_frames.metadata["xla"] is False
    # Compared here and on one clip: `verify` has XLA compile for each of its batches, twice.
    export = export_saved_model(frames_config, str(tmp_path / "model"), xla=True, check=False, warmup=False)
    assert compiled_functions(export.path) and export.metadata["xla"] is True
    with clips_to_try(frames_config, tuple(exported_frames.metadata["classes"]), 1, must_be_real=True) as clips:
        frames = clips.arrays(2)["frames"][:1]
    answers = [
        kept_models.load_saved_model(str(path)).signatures["frames"](frames=tf.constant(frames))["scores"]
        for path in (export.path, exported_frames.path)
    ]
    np.testing.assert_allclose(*answers, atol=1e-4)


def test_it_is_the_default_where_it_works(frames_config, workdir_config, monkeypatch, tmp_path):
    """Its flag, --xla, is in all files for TensorFlow Serving (tests/export/test_tf_serving_files.py)."""
    folder, of_networks = str(tmp_path / "model"), []
    monkeypatch.setattr(ServedFrames, "__init__", lambda self, network, metadata: of_networks.append(metadata["xla"]))
    monkeypatch.setattr(ServedFrames, "save", lambda self, path: None)
    monkeypatch.setattr(saved_model, "fold_batch_norms", lambda model: model)
    kept_models.keep(monkeypatch, saved_model)
    for works in (True, False):
        monkeypatch.setattr(saved_model, "xla_works", lambda works=works: works)
        export_saved_model(frames_config, folder, check=False, warmup=False)
    assert of_networks == [True, False]
    for config, sentence in (
        (frames_config, r"^--xla: XLA does not work on this machine .* leave it out\.$"),
        (workdir_config, r"--xla is for models that compute flow .* leave it out"),
    ):
        with pytest.raises(UserError, match=sentence):
            export_saved_model(config, folder + "2", xla=True)
    assert not (tmp_path / "model2").exists()
