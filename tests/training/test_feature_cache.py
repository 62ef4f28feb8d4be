import os
import pathlib

import keras
import numpy as np
import pytest

from ccsn_tf.config import Config
from ccsn_tf.data.pipeline import evaluation_views, training_batches
from ccsn_tf.data.plan import fixed_views, training_plan
from ccsn_tf.data.records.selection import select_clips
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.evaluate import evaluate
from ccsn_tf.models.build import build_model, load_model
from ccsn_tf.models.ccsn import CCSN
from ccsn_tf.models.flow import TVL1Flow
from ccsn_tf.training.feature_cache import FeatureCache
from ccsn_tf.training.train import train

FREEZE = "^(spatial|temporal)/stage1/:0"


@pytest.fixture
def config(tiny_data, tmp_path):
    return Config(data=tiny_data).replace(
        workdir=str(tmp_path / "run"),
        image_size=32,
        num_segments=2,
        epochs=2,
        lr_mults=(FREEZE,),
        feature_cache=str(tmp_path / "maps"),
        cached_views=3,
        test_segments=3,
        deterministic=True,
    )


@pytest.fixture
def frozen(config):
    """(config, model, FrozenMaps, classes, training clips, test clips)"""
    classes, training, test = select_clips(config)
    model = build_model(config.model, classes)
    return config, model, FeatureCache(model, config), classes, training, test


def files(config):
    return sorted(pathlib.Path(config.train.feature_cache).rglob("*.npy"))


def test_the_top_on_cached_features_is_the_network(frozen):
    config, model, maps, classes, _, test = frozen
    kept = maps.evaluation_views(test, classes, 3, 5, lambda done, total: None)
    whole = evaluation_views(test, classes, config.data.record_dir, config.model, 3, 5)
    for own, view in zip(kept, whole, strict=True):
        assert int(own.pop("label")) == int(view.pop("label"))
        ours, theirs = maps.top(own), model(view)
        for name, value in theirs.items():
            np.testing.assert_allclose(ours[name], value, atol=2e-3, err_msg=name)  # maps are kept in float16


def test_training_batches_are_the_fixed_views(frozen):
    config, model, maps, classes, training, _ = frozen
    maps.add_training(training, lambda done, total: None)
    plan = training_plan(training, classes, config.data, config.model, 0, 0)
    (batch, labels), *rest = maps.training_batches(training, maps.choose(plan, 5), 1, slice(0, 1))
    assert not rest and np.array_equal(labels, plan["label"][0])
    views = np.random.default_rng([0, 5]).integers(3, size=plan["label"].shape)[0] * 2 + plan["mirrored"][0]
    images = [
        inputs for inputs, _ in training_batches(fixed_views(training, config.data, config.model, 3), config.model)
    ]
    lower, _ = model.split_at("stage1")
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


def test_frozen_stages_stay_and_the_others_learn(config):
    before = build_model(config.model, select_clips(config)[0])
    model = train(config)
    names = {stream: list(model.stages(stream)) for stream in ("spatial", "temporal")}
    for stream, stages in names.items():
        frozen = [weight.path for weight in model.stages(stream)["stage1"].weights]
        assert frozen and not {v.path for v in model.trainable_variables} & set(frozen)
        assert all(stage in model.stages(stream) for stage in stages)
    saved = load_model(str(pathlib.Path(config.train.workdir, "model.keras")))
    first = FeatureCache(saved, config)
    assert before.count_params() == saved.count_params()
    count = len(files(config))
    first.add_training(select_clips(config)[1], lambda done, total: pytest.fail("made anew"))
    assert len(files(config)) == count, "the trained model's frozen stages are those that it started from"


def test_a_run_on_kept_maps_is_evaluated_as_any_other(config):
    train(config)
    on_maps = evaluate(config)
    logits = dict(np.load(pathlib.Path(config.train.workdir, "scores.npz")))
    whole = evaluate(config.replace(feature_cache=""))
    assert on_maps["protocol"] == whole["protocol"]
    again = dict(np.load(pathlib.Path(config.train.workdir, "scores.npz")))
    np.testing.assert_allclose(logits["fused"], again["fused"], atol=1e-4)


def test_what_is_kept_serves_other_seeds_and_connections_but_no_other_weights(config):
    train(config)
    kept = files(config)
    other = config.replace(workdir=config.train.workdir + "2", connection="sum", seed=0)
    train(other)
    assert files(config) == kept
    train(config.replace(workdir=config.train.workdir + "3", seed=1))  # random weights, so others
    assert len(files(config)) == 2 * len(kept)


def test_maps_of_flow_in_the_graph_are_those_of_its_settings(config):
    config = config.replace(flow_source="graph")
    classes, training, _ = select_clips(config)
    weights, counts = None, []
    for iterations in (2, 3, 2):
        flow = TVL1Flow(levels=1, warps=1, iterations=iterations)
        model = CCSN(classes, flow_source="graph", flow=flow, image_size=32)
        weights = weights or model.get_weights()
        model.set_weights(weights)
        FeatureCache(model, config).add_training(training, lambda done, total: None)
        counts.append(len(files(config)))
    # The spatial stream's are made anew as well: one key serves both.
    assert counts == [2 * len(training), 4 * len(training), 4 * len(training)]


def test_a_run_that_goes_on_finds_its_maps(config, tmp_path):
    """Its streams start from another run's, so that the weights it is built with are not those it was trained with."""
    first = config.replace(workdir=str(tmp_path / "first"), feature_cache="", lr_mults=())
    train(first)
    run = config.replace(init_spatial=first.train.workdir, init_temporal=first.train.workdir, epochs=1)
    train(run)
    kept = files(config)
    os.unlink(pathlib.Path(config.train.workdir, "model.keras"))
    train(run)
    assert files(config) == kept


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
        ({"lr_mults": ("^(spatial|temporal)/stage:0",)}, "joined at stage2, before stage3"),
        ({"lr_mults": ("^spatial/stage1/:0",)}, "--feature_cache"),
        ({"lr_mults": ()}, "--lr_mults"),
    ],
)
def test_stages_that_cannot_be_frozen_are_refused(config, changes, reason):
    with pytest.raises(UserError, match=reason):
        train(config.replace(**changes))


def test_a_killed_run_on_features_ends_as_the_uninterrupted_one(config, tmp_path):
    """The views of an epoch are those of its seed, wherever in it a run goes on."""

    class Kill(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 0 and self.params["epochs"] > 1:
                raise KeyboardInterrupt

    config = config.replace(classes_per_batch=2, epochs=2)  # two steps per epoch
    whole = train(config.replace(workdir=str(tmp_path / "whole")))
    killed = config.replace(workdir=str(tmp_path / "killed"), checkpoint_minutes=0.0)
    with pytest.raises(KeyboardInterrupt):
        train(killed, callbacks=[Kill()])
    for mine, theirs in zip(train(killed).variables, whole.variables, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


def test_precision_has_features_of_its_own(config):
    model = build_model(config.model, select_clips(config)[0])
    clips = select_clips(config)[1][:1]
    FeatureCache(model, config).add_training(clips, lambda done, total: None)
    FeatureCache(model, config.replace(precision="mixed_bfloat16")).add_training(clips, lambda done, total: None)
    assert len(files(config)) == 4
