"""Fixtures: a small exported model, its work directory, and servers for it (loaded by conftest.py)."""

import dataclasses
import functools
import json
import pathlib
import socket
import subprocess

import kept_models
import keras
import layers
import pytest
import videos
from commands import run_forked

from ccsn_tf.config import Config, ModelConfig, TrainConfig
from ccsn_tf.models.flow import TVL1Flow

SIZE = 32


@dataclasses.dataclass(frozen=True)
class Exported:
    """A finished export, what it was made from, and what the command printed, if it was one."""

    config: Config
    model: keras.Model
    folder: pathlib.Path
    path: pathlib.Path
    metadata: dict
    printed: str = ""


@pytest.fixture(scope="session")
def workdir_config(tiny_data, tiny_manifest, tmp_path_factory):
    """The Config of a work directory with a model of random weights, for the classes of the tiny set."""
    workdir = tmp_path_factory.mktemp("serving") / "run"
    return _finished_run(workdir, tiny_data, tiny_manifest.classes)


# Settings of `TVL1Flow` that are enough to see that all ways compute the same; its defaults take minutes to export.
QUICK_FLOW = {"levels": 2, "warps": 1, "iterations": 2}


@pytest.fixture(scope="session")
def frames_config(tmp_path_factory):
    """The same of a model that computes flow itself, two fields a snippet, quickly.

    Of the videos, those of odd groups are as large as the network's input; the others are wider, and their frames are
    cropped and not scaled.
    """
    from ccsn_tf.config import DataConfig
    from ccsn_tf.data.prepare.prepare import prepare
    from ccsn_tf.models import ccsn

    root, steps = tmp_path_factory.mktemp("frames"), {"Across": (2, 0), "Down": (-1, 2)}

    def frames(label, group):
        step, width = list(steps.values())[label], SIZE if group % 2 else SIZE + 12
        return videos.moving(step=step, height=SIZE, width=width, seed=10 * label + group)

    videos.write_tree(root / "set", tuple(steps), 5, frames)
    data = DataConfig(
        video_dir=str(root / "set" / "videos"),
        split_dir=str(root / "set" / "lists"),
        record_dir=str(root / "records"),
        workers=1,
        short_side=SIZE,
        flow="none",
    )
    prepare(data, min_fields=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ccsn, "TVL1Flow", functools.partial(TVL1Flow, **QUICK_FLOW))
        patch.setattr(ccsn.TVL1Flow, "from_config", TVL1Flow.from_config, raising=False)
        return _finished_run(root / "run", data, tuple(steps), flow_source="graph", flow_length=2)


def _finished_run(workdir, data, classes, **settings):
    from ccsn_tf.models.build import build_model

    model = ModelConfig(image_size=SIZE, num_segments=2, embedding_dim=8, attention_heads=2, **settings)
    config = Config(data=data, model=model, train=TrainConfig(workdir=str(workdir)))
    config = config.replace(test_segments=3, top_k=2)
    workdir.mkdir()
    model = build_model(config.model, classes, data=data)
    layers.randomise_in_scale(model)
    model.save(workdir / "model.keras")
    config.write(workdir)
    return config


@pytest.fixture(scope="session")
def exported(workdir_config, tmp_path_factory):
    """The export of that model as the command makes it, verified; tests leave it alone."""
    workdir, folder = workdir_config.train.workdir, tmp_path_factory.mktemp("serving") / "model"
    flags = f"--workdir={workdir}", f"--export_dir={folder}", f"--record_dir={workdir_config.data.record_dir}"
    printed = run_forked("export/saved_model.py", *flags, "--test_segments=3", "--accuracy_clips=5").stdout
    return _exported(workdir_config, folder, printed)


@pytest.fixture(scope="session")
def exported_frames(frames_config, tmp_path_factory):
    """The export of the model that computes flow, verified on fewer clips; tests leave it alone."""
    from ccsn_tf.serving.saved_model.export import export_saved_model

    folder = tmp_path_factory.mktemp("serving") / "frames_model"
    with pytest.MonkeyPatch.context() as patch:
        for module in ("export", "verify"):
            patch.setattr(f"ccsn_tf.serving.saved_model.{module}.BATCHES", (3,))
        export_saved_model(frames_config, str(folder), xla=False, must_be_real=True)  # XLA takes long, for each size
    return _exported(frames_config, folder)


def _exported(config, folder, printed=""):
    model, path = kept_models.load_model(str(pathlib.Path(config.train.workdir, "model.keras"))), folder / "1"
    metadata = json.loads((path / "assets.extra" / "ccsn.json").read_text())
    return Exported(config, model, folder, path, metadata, printed)


@pytest.fixture(scope="session")
def stand_in(exported):
    """The stand-in for TensorFlow Serving, without faults."""
    from serving_stand_in import StandIn

    with StandIn(str(exported.folder)) as server:
        yield server


@pytest.fixture(scope="session")
def moving_video(tmp_path_factory):
    """A video file to ask a model about."""
    frames = videos.moving(num_frames=20, step=(2, 1), height=60, width=80, seed=3)
    return str(videos.write_video(tmp_path_factory.mktemp("client") / "moving.mp4", frames))


def make_certificate(folder, name, host="localhost"):
    """Writes `name`.key and `name`.crt, which says that it is of a host."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"]
    command += ["-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.crt"]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def unused_port():
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
