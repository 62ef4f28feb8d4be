"""A small exported model, its work directory, and servers for it."""

import dataclasses
import pathlib

import keras
import layers
import pytest

from ccsn_tf.config import Config, ModelConfig, TrainConfig

SIZE = 32


@dataclasses.dataclass(frozen=True)
class Exported:
    """A finished export and what it was made from."""

    config: Config
    model: keras.Model
    folder: pathlib.Path
    path: pathlib.Path
    metadata: dict
    verification: dict


@pytest.fixture(scope="session")
def workdir_config(tiny_data, tiny_manifest, tmp_path_factory):
    """The Config of a work directory with a model of random weights, for the classes of the tiny set."""
    from ccsn_tf.models.build import build_model

    workdir = tmp_path_factory.mktemp("serving") / "run"
    settings = ModelConfig(image_size=SIZE, num_segments=2, embedding_dim=8, attention_heads=2)
    config = Config(data=tiny_data, model=settings, train=TrainConfig(workdir=str(workdir)))
    config = config.replace(test_segments=3, top_k=2)
    workdir.mkdir()
    model = build_model(config.model, tiny_manifest.classes)
    layers.randomise_in_scale(model)
    model.save(workdir / "model.keras")
    (workdir / "config.json").write_text(config.to_json())
    return config


@pytest.fixture(scope="session")
def exported(workdir_config, tmp_path_factory):
    """The export of that model, verified; tests leave it alone."""
    from ccsn_tf.models.build import load_model
    from ccsn_tf.serving.saved_model import export_saved_model

    folder = tmp_path_factory.mktemp("serving") / "model"
    done = export_saved_model(workdir_config, str(folder), must_be_real=True)
    model = load_model(str(pathlib.Path(workdir_config.train.workdir, "model.keras")))
    return Exported(workdir_config, model, folder, done.path, done.metadata, done.verification)
