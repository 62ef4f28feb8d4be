"""One clip by every path to its scores: flow that records hold, and flow that the network computes.

    pytest -s tests/serving/test_flow_paths.py

prints how far the paths are apart. A path that takes the network's frames is a line in `OF_FRAMES`.
"""

import pathlib

import layers
import numpy as np
import pytest
import videos

from ccsn_tf.config import Config, DataConfig
from ccsn_tf.data.manifest import Manifest
from ccsn_tf.data.pipeline import evaluation_views
from ccsn_tf.data.prepare import prepare
from ccsn_tf.evaluation.predict import video_views
from ccsn_tf.evaluation.protocol import make_forward
from ccsn_tf.models.build import build_model
from ccsn_tf.serving.agreement import softmax
from ccsn_tf.serving.exchange import Request
from ccsn_tf.serving.saved_model import export_saved_model
from ccsn_tf.serving.verify import ask

LIMIT = 1e-3
SIZE = 32
SEGMENTS = 3


def by_saved_model(config, frames, folder):
    """The signature `frames`, in a fresh process."""
    done = export_saved_model(config, str(folder), check=False, warmup=False)
    (answer,) = ask(str(done.path), [Request("frames", {"frames": frames})])
    assert not answer.error
    return answer.outputs["scores"]


# Functions of a run's config, the frames that Keras takes, uint8 (N, K, L + 1, S, S, 3), and an empty folder, to the
# scores (N, classes) that Keras gives.
OF_FRAMES = {"SavedModel": by_saved_model}


class Paths:
    """Videos of one size, their records with stored `tvl1_graph`, and two networks of the same weights.

    Stored flow is in pixels of the stored frame, so `short_side` is theirs: as large as they are stored.
    """

    def __init__(self, root, height, width):
        steps = {"Across": (2, 0), "Down": (-1, 2)}
        videos.write_tree(
            root / "set",
            tuple(steps),
            5,
            lambda label, group: videos.moving(
                step=list(steps.values())[label], height=height, width=width, seed=10 * label + group
            ),
        )
        data = DataConfig(
            video_dir=str(root / "set" / "videos"),
            split_dir=str(root / "set" / "lists"),
            record_dir=str(root / "records"),
            workers=1,
            flow="tvl1_graph",
            flow_side=0,
            short_side=height,
        )
        prepare(data, min_fields=5)
        stored = Config(data=data).replace(
            image_size=SIZE, embedding_dim=8, attention_heads=2, test_segments=SEGMENTS, workdir=str(root / "run")
        )
        self.configs = {"stored": stored, "graph": stored.replace(flow_source="graph")}
        self._manifest = Manifest.read(data.record_dir)
        self._clips = self._manifest.of_side(1, "test", data.record_dir)
        networks = {
            source: build_model(config.model, self._manifest.classes, "none", data.flow_bound, data.short_side)
            for source, config in self.configs.items()
        }
        layers.randomise_in_scale(networks["graph"])
        networks["stored"].set_weights(networks["graph"].get_weights())
        (root / "run").mkdir()
        networks["graph"].save(root / "run" / "model.keras")
        self._forward = {source: make_forward(network) for source, network in networks.items()}

    def of_records(self, source):
        """The network's inputs by name, (N, K, ...)."""
        config = self.configs[source]
        folder, classes = config.data.record_dir, self._manifest.classes
        return _joined(
            {name: value.numpy() for name, value in view.items() if name != "label"}
            for view in evaluation_views(self._clips, classes, folder, config.model, SEGMENTS, 1)
        )

    def of_videos(self, source):
        """The same of the videos: no JPEG between."""
        config = self.configs[source]
        paths = [pathlib.Path(config.data.video_dir, f"{clip.name}.avi") for clip in self._clips]
        return _joined(video_views(str(path), config) for path in paths)

    def scores(self, source, inputs):
        return softmax(self._forward[source](inputs)["logits"].numpy())


def _joined(views):
    views = list(views)
    return {name: np.concatenate([view[name] for view in views]) for name in views[0]}


@pytest.fixture(scope="module")
def square(tmp_path_factory):
    """Videos as large as the network's input, so that flow is computed of the same pixels on every path."""
    return Paths(tmp_path_factory.mktemp("paths") / "square", SIZE, SIZE)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Videos that are cropped and scaled."""
    return Paths(tmp_path_factory.mktemp("paths") / "wide", 48, 64)


def apart(ours, theirs):
    return float(np.abs(ours - theirs).max())


def test_flow_of_the_same_pixels_as_bytes(square):
    """The two definitions are one, but for what a byte of each field cannot hold."""
    ours, theirs = (square.scores(source, square.of_videos(source)) for source in ("graph", "stored"))
    assert np.ptp(ours, axis=0).max() > 0.01  # the clips differ by more
    difference = apart(ours, theirs)
    print(f"stored as bytes, without JPEG: {difference:.1e}")
    assert difference <= LIMIT


def test_records_differ_by_their_jpegs(square):
    """Flow is stored of frames before JPEG, and as JPEG; flow in the network is that of the stored frames."""
    difference = apart(*(square.scores(source, square.of_records(source)) for source in ("graph", "stored")))
    print(f"stored in records, JPEG quality 95: {difference:.1e}")
    assert LIMIT < difference < 1


def test_records_of_larger_videos_differ_by_the_view(wide):
    """Stored flow is computed of the whole frame and scaled, flow in the network of the scaled crop."""
    for name, make in (("without JPEG", wide.of_videos), ("in records", wide.of_records)):
        difference = apart(*(wide.scores(source, make(source)) for source in ("graph", "stored")))
        print(f"cropped and scaled, {name}: {difference:.1e}")


@pytest.mark.parametrize("path", OF_FRAMES)
def test_paths_that_take_frames(square, tmp_path, path):
    inputs = square.of_records("graph")
    scores = OF_FRAMES[path](square.configs["graph"], inputs["frames"], tmp_path / "model")
    difference = apart(scores, square.scores("graph", inputs))
    print(f"{path}: {difference:.1e}")
    assert difference <= LIMIT
