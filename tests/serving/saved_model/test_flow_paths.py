"""One clip by every path to its scores: flow that records hold, and flow that the network computes.

    pytest -s -m slow tests/serving/test_flow_paths.py

prints how far the paths are apart with flow's default settings; without -m slow, its iterations are few.
A further path that takes the network's frames is a line in `OF_FRAMES`.
"""

import numpy as np
import pytest
from serving_fixtures import export_verified, frames_run

from ccsn_tf.data.pipeline import evaluation_views
from ccsn_tf.data.records.manifest import Manifest
from ccsn_tf.evaluation.metrics import softmax
from ccsn_tf.evaluation.predict import make_forward, video_views
from ccsn_tf.models.build import build_model
from ccsn_tf.serving.client.exchange import Request
from ccsn_tf.serving.onnx.export import OnnxSettings, export_onnx
from ccsn_tf.serving.onnx.session import OnnxModel
from ccsn_tf.serving.saved_model.verify import ask

LIMIT = 1e-3


def by_saved_model(exported, frames):
    """The signature `frames`, in a fresh process."""
    (answer,) = ask(str(exported.path), [Request("frames", {"frames": frames})])
    assert not answer.error
    return answer.outputs["scores"]


def by_onnx_runtime(exported, frames):
    """The exported file in ONNX Runtime."""
    path = export_onnx(exported.config, OnnxSettings(f"{exported.path}.onnx", must_be_real=True)).path
    return OnnxModel(str(path))({"frames": frames})["scores"]


# Functions of an export (see serving_fixtures) and of the frames that Keras takes, uint8 (N, K, L + 1, S, S, 3), to
# the scores (N, classes), which must be those of Keras.
OF_FRAMES = {"SavedModel": by_saved_model, "ONNX Runtime": by_onnx_runtime}


class Paths:
    """The test clips of the model that takes frames, and a network with its weights that takes stored flow.

    Stored flow is `tvl1_graph` of whole frames. Names: "graph" and "stored".
    """

    def __init__(self, exported):
        config = exported.config
        self._configs = {"graph": config, "stored": config.replace(flow_source="stored")}
        self._classes, clips = Manifest.read(config.data.record_dir).select(config.data, "test")
        size = config.model.image_size
        self.clips = {
            "square": [clip for clip in clips if clip.width == clip.height == size],
            "wide": [clip for clip in clips if clip.width > clip.height == size],
        }
        stored = build_model(self._configs["stored"].model, self._classes)
        stored.set_weights(exported.model.get_weights())
        self._forward = {"graph": make_forward(exported.model), "stored": make_forward(stored)}

    def of_records(self, source, clips):
        """The network's inputs by name, (N, K, ...): JPEG frames, and JPEG fields computed before there were JPEGs."""
        data, model = self._configs[source].data, self._configs[source].model
        views = evaluation_views(clips, self._classes, data.record_dir, model, 3, 1).as_numpy_iterator()
        return _joined({name: value for name, value in view.items() if name != "label"} for view in views)

    def of_videos(self, source, clips):
        """The same without any JPEG, flow as bytes."""
        config = self._configs[source]
        return _joined(video_views(f"{config.data.video_dir}/{clip.name}.avi", config) for clip in clips)

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


@pytest.fixture(scope="module", params=["few iterations", pytest.param("defaults", marks=pytest.mark.slow)])
def exported_flow(request, tmp_path_factory):
    if request.param == "few iterations":
        return request.getfixturevalue("exported_frames")
    root = tmp_path_factory.mktemp("defaults")
    return export_verified(frames_run(root), root / "model")


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


def test_records_differ_by_their_jpegs(paths):
    """Stored flow is of the video's frames, and a JPEG; the network computes it from frames that are JPEGs."""
    difference = paths.apart(paths.of_records, paths.clips["square"])
    print(f"\nin records, JPEG quality 95: {difference:.1e}")
    assert difference < 5e-3


def test_flow_of_a_crop_differs_at_its_borders(paths):
    """Stored flow is of the whole frame, and is cropped; the network's is of the crop."""
    difference = paths.apart(paths.of_videos, paths.clips["wide"])
    print(f"\ncropped, stored as bytes, without JPEG: {difference:.1e}")
    assert difference < 1e-2


@pytest.mark.parametrize("path", OF_FRAMES)
def test_paths_that_take_frames(paths, exported_flow, path):
    inputs = paths.of_records("graph", [*paths.clips["square"], *paths.clips["wide"]])
    expected = paths.scores("graph", inputs)
    assert np.ptp(expected, axis=0).max() > 0.01  # the clips differ by more
    difference = apart(OF_FRAMES[path](exported_flow, inputs["frames"]), expected)
    print(f"\n{path}: {difference:.1e}")
    assert difference <= LIMIT
