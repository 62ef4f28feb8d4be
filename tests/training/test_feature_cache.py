import pathlib
import shutil

import keras
import numpy as np
import pytest
from small_models import SMALL, backbone

from ccsn_tf.config import Config
from ccsn_tf.data.pipeline import training_batches
from ccsn_tf.data.plan import fixed_views, training_plan
from ccsn_tf.data.records.selection import select_clips
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.evaluate import evaluate
from ccsn_tf.models.build import build_model, load_model
from ccsn_tf.models.ccsn import CCSN
from ccsn_tf.models.flow import TVL1Flow
from ccsn_tf.models.flow.loops import LOOPED, iterations
from ccsn_tf.training.feature_cache import FeatureCache
from ccsn_tf.training.train import train

FREEZE = "^(spatial|temporal)/first/:0"


def settings(tiny_data, folder):
    """A run of two steps per epoch on features of the first stage, kept for three boxes and their mirror images."""
    return Config(data=tiny_data).replace(
        **SMALL,
        workdir=str(folder / "run"),
        connection="sum",
        connect_at=("second",),
        image_size=32,
        num_segments=2,
        classes_per_batch=2,
        epochs=1,
        optimizer="sgd",
        lr_mults=(FREEZE,),
        feature_cache=str(folder / "maps"),
        cached_views=3,
        test_segments=3,
        deterministic=True,
    )


@pytest.fixture
def config(tiny_data, tmp_path):
    return settings(tiny_data, tmp_path)


@pytest.fixture
def frozen(config):
    """(config, model, FeatureCache, classes, training clips, test clips)"""
    classes, training, test = select_clips(config)
    model = build_model(config.model, classes)
    return config, model, FeatureCache(model, config), classes, training, test


class Copy(keras.callbacks.Callback):
    """Leaves, beside a work directory, what `kill -9` would leave of it after the first step."""

    def __init__(self, workdir):
        super().__init__()
        self._workdir = workdir

    def on_train_batch_end(self, batch, logs=None):
        if batch == 0:
            shutil.copytree(self._workdir, f"{self._workdir}_killed")


@pytest.fixture(scope="module")
def trained(tiny_data, tmp_path_factory):
    """(config, model, the one it started from) of a run that is done: its seed would have made other weights."""
    folder = tmp_path_factory.mktemp("trained")
    config = settings(tiny_data, folder)
    keras.utils.set_random_seed(9)
    first = build_model(config.model, select_clips(config)[0])
    (folder / "first").mkdir()
    first.save(folder / "first" / "model.keras")
    config = config.replace(**{f"init_{stream}": str(folder / "first") for stream in ("spatial", "temporal")})
    return config, train(config.replace(checkpoint_minutes=0.0), callbacks=[Copy(config.train.workdir)]), first


def files(config):
    return sorted(pathlib.Path(config.train.feature_cache).rglob("*.npy"))


def test_training_batches_are_the_fixed_views(frozen):
    config, model, maps, classes, training, _ = frozen
    maps.add_training(training, silent)
    plan = training_plan(training, classes, config.data, config.model, 0, 0)
    (batch, labels), *_ = maps.training_batches(training, maps.choose(plan, 5), 1, slice(0, 1))
    assert np.array_equal(labels, plan["label"][0])
    views = np.random.default_rng([0, 5]).integers(3, size=plan["label"].shape)[0] * 2 + plan["mirrored"][0]
    images = [
        inputs for inputs, _ in training_batches(fixed_views(training, config.data, config.model, 3), config.model)
    ]
    lower, _ = model.split_at("first")
    for place, (clip, view) in enumerate(zip(plan["clip"][0], views, strict=True)):
        seen = {name: part[view : view + 1] for name, part in images[clip].items()}
        for stream in ("spatial", "temporal"):
            np.testing.assert_allclose(batch[stream][place], lower[stream](seen), rtol=2e-3, atol=2e-3)


def test_every_other_fixed_view_is_the_mirror_image_of_the_one_before(frozen):
    config, *_, training, _ = frozen
    plan = fixed_views(training, config.data, config.model, 3)
    assert plan["mirrored"].tolist() == [[False, True] * 3] * len(training)
    for name in ("starts", "box"):
        assert np.array_equal(plan[name][:, 0::2], plan[name][:, 1::2])
    assert len(np.unique(plan["box"].reshape(-1, 3), axis=0)) > len(training), "views of a clip differ"
    alone = fixed_views(training[2:3], config.data, config.model, 3)
    assert np.array_equal(alone["box"][0], plan["box"][2]), "whatever other clips there are"


def silent(done, total):
    pass


def test_frozen_stages_stay_and_the_others_learn(trained):
    _, model, before = trained
    for stream in ("spatial", "temporal"):
        (_, now), *later = model.stages(stream).items()
        (name, then), *start = before.stages(stream).items()
        assert name == "first" and not now.trainable_weights
        for mine, theirs in zip(now.weights, then.weights, strict=True):
            np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
        pairs = zip(later[-1][1].trainable_weights, start[-1][1].trainable_weights, strict=True)
        assert any(np.any(mine.numpy() != theirs.numpy()) for mine, theirs in pairs), stream


def test_a_killed_run_finds_its_maps_and_ends_as_the_uninterrupted_one(trained):
    """The views of an epoch are those of its seed, wherever in it a run goes on."""
    config, whole, _ = trained
    kept, said = files(config), []
    resumed = train(config.replace(workdir=f"{config.train.workdir}_killed"), said.append)
    assert "going on after epoch 0, step 1" in said and files(config) == kept
    for mine, theirs in zip(resumed.variables, whole.variables, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


def test_a_run_on_kept_maps_is_evaluated_as_any_other(trained):
    config, *_ = trained
    on_maps = evaluate(config)
    logits = dict(np.load(pathlib.Path(config.train.workdir, "scores.npz")))
    whole = evaluate(config.replace(feature_cache=""))
    assert on_maps["protocol"] == whole["protocol"]
    again = dict(np.load(pathlib.Path(config.train.workdir, "scores.npz")))
    np.testing.assert_allclose(logits["fused"], again["fused"], atol=1e-4)


def test_what_is_kept_serves_other_connections_but_no_other_weights_or_precision(trained, tmp_path):
    config, model, _ = trained
    classes, training, _ = select_clips(config)
    kept = files(config)
    saved = load_model(str(pathlib.Path(config.train.workdir, "model.keras")))
    other = build_model(config.replace(connection="cross_attention").model, classes)
    for stream in ("spatial", "temporal"):
        for mine, theirs in zip(other.stages(stream).values(), model.stages(stream).values(), strict=True):
            mine.set_weights(theirs.get_weights())
    for same in (saved, other):
        FeatureCache(same, config).add_training(training, lambda done, total: pytest.fail("made anew"))
    one, maps = training[:1], config.replace(feature_cache=str(tmp_path))
    for count, (own, network) in enumerate(
        [(maps, saved), (maps.replace(precision="mixed_bfloat16"), saved), (maps, build_model(config.model, classes))]
    ):
        FeatureCache(network, own).add_training(one, silent)
        assert len(files(own)) == 2 * (count + 1)
    assert files(config) == kept


def test_maps_of_flow_in_the_graph_are_those_of_its_settings(config):
    config = config.replace(flow_source="graph", flow_length=1, cached_views=1)
    classes, training, _ = select_clips(config)
    weights, counts = None, []
    for times in (2, 3):
        flow = TVL1Flow(levels=1, warps=1, iterations=times)
        model = CCSN(classes, backbone, None, flow_source="graph", flow=flow, flow_length=1, image_size=32)
        weights = weights or model.get_weights()
        model.set_weights(weights)
        with iterations(LOOPED):
            FeatureCache(model, config).add_training(training[:1], silent)
        counts.append(len(files(config)))
    assert counts == [2, 4]  # one key serves both streams


def test_a_killed_keeper_goes_on(frozen):
    config, _, maps, _, training, _ = frozen

    def stop(done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        maps.add_training(training, stop)
    assert len(files(config)) == 2 * 4
    counts = []
    maps.add_training(training, lambda done, total: counts.append((done, total)))
    assert counts[-1] == (len(training) - 4, len(training) - 4)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"lr_mults": ("stage9:0",)}, "--lr_mults=stage9:0 matches no weight"),
        ({"lr_mults": ("^(spatial|temporal)/:0",), "connect_at": ("first",)}, "joined at first, before second"),
        ({"lr_mults": ("^spatial/first/:0",)}, "--feature_cache"),
        ({"lr_mults": ()}, "--lr_mults"),
    ],
)
def test_stages_that_cannot_be_frozen_are_refused(config, changes, reason):
    with pytest.raises(UserError, match=reason):
        train(config.replace(**changes))
