import keras
import numpy as np
import pytest

from ccsn_tf.config import Config, ModelConfig, TrainConfig
from ccsn_tf.errors import UserError
from ccsn_tf.models.build import build_model
from ccsn_tf.models.weights import weight_names
from ccsn_tf.training.optimizer import freeze, frozen_stage, lr_factors, make_optimizer, make_schedule


def rates(config, steps, count):
    schedule = make_schedule(config, steps)
    return np.array([float(schedule(step)) if callable(schedule) else schedule for step in range(count)])


def test_cosine_rises_to_its_peak_and_falls_to_zero():
    config = TrainConfig(schedule="cosine", learning_rate=0.4, warmup_epochs=1.0, epochs=3)
    found = rates(config, 4, 13)
    np.testing.assert_allclose(found[:4], [0.1, 0.175, 0.25, 0.325], rtol=1e-6)
    np.testing.assert_allclose(found[4:], 0.2 * (1 + np.cos(np.pi * np.arange(9) / 8)), atol=1e-6)


def test_steps_drop_after_their_epoch():
    config = TrainConfig(schedule="step", learning_rate=1.0, step_epochs=(1, 2), epochs=3)
    np.testing.assert_allclose(rates(config, 2, 6), [1, 1, 0.1, 0.1, 0.01, 0.01], rtol=1e-5)
    with pytest.raises(UserError, match="--step_epochs"):
        make_optimizer(TrainConfig(schedule="step"), steps_per_epoch=10)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_weight_decay_spares_all_but_kernels(name, decay=0.5):
    optimizer = make_optimizer(TrainConfig(optimizer=name, weight_decay=decay, schedule="constant"), 1)
    variables = [keras.Variable(np.ones(3, "float32"), name=kind) for kind in ("kernel", "bias", "gamma", "beta")]
    optimizer.build(variables)
    optimizer.apply([keras.ops.zeros(3)] * 4, variables)
    kernel, *others = [variable.numpy() for variable in variables]
    np.testing.assert_allclose(kernel, 1 - decay * 1e-3, rtol=1e-6)
    for other in others:
        np.testing.assert_array_equal(other, np.ones(3))


def test_float16_scales_its_loss():
    optimizer = make_optimizer(TrainConfig(precision="mixed_float16"), 1)
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)


@pytest.fixture(scope="module")
def model():
    return build_model(ModelConfig(image_size=16, flow_length=2), ("a", "b"))


def test_factors_of_all_matches_multiply(model):
    factors, names = lr_factors(model, ("^temporal/:2", "/stage1/stem_conv/:5", "^connection/:10")), weight_names(model)
    found = {names[number]: factor for number, factor in factors.items()}
    assert found["temporal/stage1/stem_conv/kernel"] == 10 and found["spatial/stage1/stem_conv/kernel"] == 5
    assert found["temporal/stage2/" + next(n for n in found if n.startswith("temporal/stage2/"))[16:]] == 2
    assert all(factor == 10 for name, factor in found.items() if name.startswith("connection/"))
    assert "spatial_logits/kernel" in names.values() and "spatial_logits/kernel" not in found
    assert set(names) == {id(variable) for variable in model.trainable_variables}
    none = build_model(ModelConfig(image_size=16, flow_length=2, connection="none"), ("a", "b"))
    assert lr_factors(none, ("^connection/:10", "connection:10")) == {}, "one flag file serves both"
    with pytest.raises(UserError, match="--lr_mults"):
        lr_factors(none, ("nowhere:2",))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_factor_scales_the_step(name):
    a, b = (keras.Variable(np.zeros(2, "float32"), name=n) for n in "ab")
    optimizer = make_optimizer(TrainConfig(optimizer=name, schedule="constant", weight_decay=0.0), 1, {id(b): 3.0})
    optimizer.build([a, b])
    optimizer.apply([keras.ops.ones(2)] * 2, [a, b])
    np.testing.assert_allclose(b.numpy(), 3 * a.numpy(), rtol=1e-6)
    assert np.abs(a.numpy()).min() > 0


def test_factor_zero_freezes_layers_and_their_statistics(model):
    factors = lr_factors(model, ("^spatial/stage[12]/:0", "^temporal/stage1/:0"))
    assert frozen_stage(model, factors) == "stage1"
    freeze(model, factors)
    norm = model.stages("spatial")["stage2"].layers[-2]
    assert isinstance(norm, keras.layers.BatchNormalization) and not norm.trainable
    assert {name.partition("/")[0] for name in weight_names(model).values()} >= {"temporal", "connection"}
    assert not any(name.startswith("spatial/stage1/") for name in weight_names(model).values())


@pytest.mark.parametrize("entry", ["temporal", "(:2", ":2", "a:-1"])
def test_entries_that_are_no_pattern_and_factor_are_refused(entry):
    with pytest.raises(UserError, match="--lr_mults"):
        Config().replace(lr_mults=(entry,))
