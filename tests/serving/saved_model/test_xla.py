"""Exports whose flow is compiled where the model runs."""

import kept_models
import pytest

from ccsn_tf.errors import UserError
from ccsn_tf.serving.saved_model import export as saved_model
from ccsn_tf.serving.saved_model.export import export_saved_model
from ccsn_tf.serving.saved_model.signatures import ServedFrames


def test_it_is_the_default_where_it_works(frames_config, workdir_config, monkeypatch, tmp_path):
    """What it computes: test_loader.py; its flag for TensorFlow Serving: tests/export/test_tf_serving_files.py."""
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
