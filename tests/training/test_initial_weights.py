import numpy as np
import pytest
from small_models import SMALL, clips, predict

from ccsn_tf.config import Config, TrainConfig
from ccsn_tf.errors import UserError
from ccsn_tf.models.build import build_model, load_model
from ccsn_tf.training.initial_weights import start_from_runs

CLASSES = ("a", "b", "c")


def make(classes=CLASSES, **settings):
    return build_model(Config().replace(**{**SMALL, "image_size": 16, "flow_length": 2, **settings}).model, classes)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two finished runs with random weights: their folders."""
    root, rng = tmp_path_factory.mktemp("runs"), np.random.default_rng(0)
    for name in ("one", "two"):
        model = make(connection="none")
        model.set_weights([rng.uniform(0.1, 1, w.shape).astype(w.dtype) for w in model.weights])
        (root / name).mkdir()
        model.save(root / name / "model.keras")
    return root


def predictions(model):
    return predict(model, clips(segments=2, flow_length=2, seed=1))


def test_each_stream_predicts_as_in_its_run(runs):
    expected = [predictions(load_model(str(runs / name / "model.keras"))) for name in ("one", "two")]
    model = make(connection="cross_attention")
    start_from_runs(model, TrainConfig(init_spatial=str(runs / "one"), init_temporal=str(runs / "two")))
    found = predictions(model)
    np.testing.assert_allclose(found["spatial_logits"], expected[0]["spatial_logits"], rtol=1e-5)
    np.testing.assert_allclose(found["temporal_logits"], expected[1]["temporal_logits"], rtol=1e-5)
    assert np.abs(found["temporal_logits"] - expected[0]["temporal_logits"]).max() > 0.1


def test_other_classes_keep_their_new_classifier(runs):
    model = make(classes=("x", "y"))
    before = model.get_layer("spatial_logits").get_weights()
    start_from_runs(model, TrainConfig(init_spatial=str(runs / "one")))
    np.testing.assert_array_equal(model.get_layer("spatial_logits").kernel.numpy(), before[0])
    assert model.network("spatial").get_weights()[0].min() >= 0.1


def test_relations_come_with_the_classifier(runs, tmp_path):
    related = {"consensus": "trn", "num_segments": 2, "test_segments": 2}
    source, target = make(**related), make(**related)
    source.save(tmp_path / "model.keras")
    given = TrainConfig(init_temporal=str(tmp_path))
    start_from_runs(target, given)
    np.testing.assert_array_equal(predictions(target)["temporal_logits"], predictions(source)["temporal_logits"])
    other = make(consensus="trn", num_segments=3, test_segments=3)
    before = other.get_layer("temporal_consensus").get_weights()
    start_from_runs(other, given)  # the backbone alone: another number of segments
    for mine, theirs in zip(other.get_layer("temporal_consensus").get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_other_networks_are_refused(runs):
    with pytest.raises(UserError, match=r"--init_temporal=.*two has a temporal stream of another shape: give a run"):
        start_from_runs(make(flow_length=3), TrainConfig(init_temporal=str(runs / "two")))
    with pytest.raises(UserError, match=r"nowhere/model\.keras is missing"):
        start_from_runs(make(), TrainConfig(init_spatial=str(runs / "nowhere")))
