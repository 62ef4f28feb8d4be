"""One clip by every path to its scores: flow that records hold, and flow that the network computes.

    pytest -s -m slow tests/serving/saved_model/test_flow_paths.py

prints how far the paths are apart with flow's default settings; without -m slow, its levels and iterations are few
(and ONNX is left to test_onnx_flow.py).
A further path that takes the network's frames is a line in `OF_FRAMES`.
"""

import kept_models
import numpy as np
import pytest
import tensorflow as tf
from serving_fixtures import QUICK_FLOW, export_verified, frames_run

from ccsn_tf.data import flow
from ccsn_tf.data.records.manifest import Manifest
from ccsn_tf.evaluation.metrics import softmax
from ccsn_tf.evaluation.predict import video_views
from ccsn_tf.models.build import build_model
from ccsn_tf.models.flow import TVL1Flow
from ccsn_tf.serving.client.clip_input import VideoFile, make_input
from ccsn_tf.serving.onnx.export import OnnxSettings, export_onnx
from ccsn_tf.serving.onnx.session import OnnxModel

LIMIT = 1e-3


def by_saved_model(exported, frames):
    """The signature `frames`."""
    model = tf.saved_model.load(str(exported.path))
    return model.signatures["frames"](frames=tf.constant(frames))["scores"].numpy()


def by_onnx_runtime(exported, frames):
    """The exported file in ONNX Runtime."""
    path = export_onnx(exported.config, OnnxSettings(f"{exported.path}.onnx", must_be_real=True)).path
    return OnnxModel(str(path))({"frames": frames})["scores"]


# Functions of an export (see serving_fixtures) and of the frames that Keras takes, uint8 (N, K, L + 1, S, S, 3), to
# the scores (N, classes), which must be those of Keras.
OF_FRAMES = {"SavedModel": by_saved_model, "ONNX Runtime": by_onnx_runtime}


class Paths:
    """The test clips of the model that takes frames, and a network with its weights that takes stored flow.

    Stored flow is `tvl1_graph` of whole frames, by the model's settings. Names: "graph" and "stored".
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
        self._forward = {"graph": kept_models.make_forward(exported.model), "stored": kept_models.make_forward(stored)}

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
        return softmax(self._forward[source](inputs)["logits"].numpy())

    def apart(self, make, clips):
        """How far apart the scores are of flow that the network computes and flow that it is given."""
        return apart(*(self.scores(source, make(source, clips)) for source in ("graph", "stored")))


def _joined(views):
    views = list(views)
    return {name: np.concatenate([view[name] for view in views]) for name in views[0]}


def apart(ours, theirs):
    return float(np.abs(ours - theirs).max())


@pytest.fixture(scope="module", params=["quick", pytest.param("defaults", marks=pytest.mark.slow)])
def exported_flow(request, tmp_path_factory, module_patch):
    settings = QUICK_FLOW if request.param == "quick" else {}
    compiled = tf.function(TVL1Flow(**settings))
    module_patch.setattr(flow, "_compiled_tvl1", lambda: compiled)
    if settings:
        return request.getfixturevalue("exported_frames")
    root = tmp_path_factory.mktemp("defaults")
    return export_verified(frames_run(root, settings), root / "model")


@pytest.fixture(scope="module")
def module_patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def paths(exported_flow):
    made = Paths(exported_flow)
    assert all(len(clips) == 2 for clips in made.clips.values())
    return made


def test_flow_of_the_same_pixels_as_bytes(paths):
    """The two definitions are one: what a byte cannot hold of a field, the network rounds off as well."""
    difference = paths.apart(paths.of_videos, paths.clips["square"])
    print(f"\nstored as bytes, without JPEG: {difference:.1e}")
    assert difference <= LIMIT


def test_jpegs_make_a_small_difference(paths):
    """Stored flow is of the video's frames, and a JPEG; the network computes it from frames that are JPEGs."""
    difference = paths.apart(paths.of_jpegs, paths.clips["square"])
    print(f"\nin records, JPEG quality 95: {difference:.1e}")
    assert difference < 5e-3


def test_flow_of_a_crop_differs_at_its_borders(paths):
    """Stored flow is of the whole frame, and is cropped; the network's is of the crop."""
    difference = paths.apart(paths.of_videos, paths.clips["wide"])
    print(f"\ncropped, stored as bytes, without JPEG: {difference:.1e}")
    assert difference < 1e-2


@pytest.mark.parametrize("path", ["SavedModel", pytest.param("ONNX Runtime", marks=pytest.mark.slow)])
def test_paths_that_take_frames(paths, exported_flow, path):
    inputs = paths.of_jpegs("graph", [*paths.clips["square"], *paths.clips["wide"]])
    expected = paths.scores("graph", inputs)
    assert np.ptp(expected, axis=0).max() > 0.01  # the clips differ by more
    difference = apart(OF_FRAMES[path](exported_flow, inputs["frames"]), expected)
    print(f"\n{path}: {difference:.1e}")
    assert difference <= LIMIT
