"""One clip by every path to its scores: flow that records hold, and flow that the network computes.

    pytest -s -m slow tests/serving/saved_model/test_flow_paths.py

prints how far the paths are apart, with flow's default settings.
"""

import kept_models
import numpy as np
import pytest
import tensorflow as tf
from serving_fixtures import export_verified, frames_run

from ccsn_tf.data import flow
from ccsn_tf.data.records.manifest import Manifest
from ccsn_tf.evaluation.metrics import softmax
from ccsn_tf.evaluation.predict import video_views
from ccsn_tf.models.build import build_model
from ccsn_tf.models.flow import TVL1Flow
from ccsn_tf.serving.client.clip_input import VideoFile, make_input
from ccsn_tf.serving.onnx.export import OnnxSettings, export_onnx
from ccsn_tf.serving.onnx.session import OnnxModel

pytestmark = pytest.mark.slow

LIMIT = 1e-3


class Paths:
    """The test clips of the model that takes frames, and a network with its weights that takes stored flow.

    Stored flow is `tvl1_graph` of whole frames, by the model's settings. Sources: "graph" and "stored".
    """

    def __init__(self, exported):
        config = exported.config
        stored = config.replace(flow_source="stored", flow="tvl1_graph", flow_side=0)
        self._configs = {"graph": config, "stored": stored}
        self._classes, clips = Manifest.read(config.data.record_dir).select(config.data, "test")
        size = config.model.image_size
        self.clips = {
            "square": [clip for clip in clips if clip.width == clip.height == size],
            "wide": [clip for clip in clips if clip.width > clip.height == size],
        }
        stored = build_model(self._configs["stored"].model, self._classes)
        stored.set_weights(exported.model.get_weights())
        self._forward = {
            name: kept_models.as_exported(m) for name, m in (("graph", exported.model), ("stored", stored))
        }

    def of_jpegs(self, source, clips):
        """The network's inputs by name, (N, K, ...), as from records: of JPEG frames, and JPEG fields."""
        config = self._configs[source]
        made = (make_input(VideoFile(clip.name, self._file(clip)), lambda: None, config, 3) for clip in clips)
        return _joined({name: value[None] for name, value in each.arrays.items()} for each in made)

    def of_videos(self, source, clips):
        """The same without any JPEG, flow as bytes."""
        return _joined(video_views(self._file(clip), self._configs[source]) for clip in clips)

    def _file(self, clip):
        return f"{self._configs['graph'].data.video_dir}/{clip.name}.avi"

    def scores(self, source, inputs):
        return softmax(self._forward[source](inputs)["logits"])

    def apart(self, make, clips):
        """How far apart the scores are of flow that the network computes and flow that it is given."""
        return apart(*(self.scores(source, make(source, clips)) for source in ("graph", "stored")))


def _joined(views):
    views = list(views)
    return {name: np.concatenate([view[name] for view in views]) for name in views[0]}


def apart(ours, theirs):
    return float(np.abs(ours - theirs).max())


@pytest.fixture(scope="module")
def exported_flow(tmp_path_factory):
    compiled, root = tf.function(TVL1Flow()), tmp_path_factory.mktemp("defaults")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "_compiled_tvl1", lambda: compiled)
        yield export_verified(frames_run(root, {}), root / "model")


@pytest.fixture(scope="module")
def paths(exported_flow):
    made = Paths(exported_flow)
    assert all(len(clips) == 2 for clips in made.clips.values())
    return made


def test_flow_in_records_and_flow_in_the_network(paths):
    """The two are one, but for a JPEG in between (of frames and of fields), and for a crop before flow or after it."""
    for words, make, clips, limit in (
        ("stored as bytes, without JPEG", paths.of_videos, "square", LIMIT),
        ("in records, JPEG quality 95", paths.of_jpegs, "square", 5e-3),
        ("cropped, stored as bytes, without JPEG", paths.of_videos, "wide", 1e-2),
    ):
        difference = paths.apart(make, paths.clips[clips])
        print(f"\n{words}: {difference:.1e}")
        assert difference <= limit, words


def test_paths_that_take_frames(paths, exported_flow):
    inputs = paths.of_jpegs("graph", [*paths.clips["square"], *paths.clips["wide"]])
    expected = paths.scores("graph", inputs)
    assert np.ptp(expected, axis=0).max() > 0.01  # the clips differ by more
    saved = kept_models.load_saved_model(str(exported_flow.path)).signatures["frames"]
    file = export_onnx(exported_flow.config, OnnxSettings(f"{exported_flow.path}.onnx", must_be_real=True)).path
    for path, scores in (
        ("SavedModel", saved(frames=tf.constant(inputs["frames"]))["scores"].numpy()),
        ("ONNX Runtime", OnnxModel(str(file))(inputs)["scores"]),
    ):
        print(f"\n{path}: {apart(scores, expected):.1e}")
        assert apart(scores, expected) <= LIMIT
