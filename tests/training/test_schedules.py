import keras
import numpy as np
import pytest

from ccsn_tf.config import TrainConfig
from ccsn_tf.errors import UserError
from ccsn_tf.training.optimizer import WarmupSchedule, make_optimizer


def rates(schedule, count):
    return np.array([float(schedule(step)) for step in range(count)])


def test_constant_after_linear_warmup():
    schedule = WarmupSchedule("constant", 0.4, warmup_steps=4, total_steps=8)
    np.testing.assert_allclose(rates(schedule, 8), [0.1, 0.2, 0.3, 0.4, 0.4, 0.4, 0.4, 0.4], rtol=1e-6)


def test_steps_drop_after_their_epoch():
    schedule = WarmupSchedule("step", 1.0, 0, 6, drop_steps=(2, 4), drop_factor=0.1)
    np.testing.assert_allclose(rates(schedule, 6), [1, 1, 0.1, 0.1, 0.01, 0.01], rtol=1e-6)


def test_cosine_falls_from_peak_to_zero():
    schedule = WarmupSchedule("cosine", 2.0, 0, 4)
    np.testing.assert_allclose(rates(schedule, 5), 1 + np.cos(np.pi * np.arange(5) / 4), atol=1e-6)


def test_schedule_round_trip():
    schedule = WarmupSchedule("step", 1.0, 3, 9, drop_steps=(5,), drop_factor=0.5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    np.testing.assert_array_equal(rates(again, 9), rates(schedule, 9))


def test_step_schedule_needs_steps():
    with pytest.raises(UserError, match="--step_epochs"):
        make_optimizer(TrainConfig(schedule="step"), steps_per_epoch=10)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_weight_decay_spares_all_but_kernels(name):
    optimizer = make_optimizer(TrainConfig(optimizer=name, weight_decay=0.5, warmup_epochs=0.0, schedule="constant"), 1)
    variables = [keras.Variable(np.ones(3, "float32"), name=kind) for kind in ("kernel", "bias", "gamma", "beta")]
    optimizer.build(variables)
    optimizer.apply([keras.ops.zeros(3)] * 4, variables)
    kernel, *others = [variable.numpy() for variable in variables]
    np.testing.assert_allclose(kernel, 1 - 0.5 * 1e-3, rtol=1e-6)
    for other in others:
        np.testing.assert_array_equal(other, np.ones(3))


def test_half_precision_scales_its_loss():
    assert isinstance(make_optimizer(TrainConfig(precision="mixed_float16"), 1), keras.optimizers.LossScaleOptimizer)
    assert not isinstance(
        make_optimizer(TrainConfig(precision="mixed_bfloat16"), 1), keras.optimizers.LossScaleOptimizer
    )


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_no_weight_decay_leaves_a_weight_without_gradient_alone(name):
    optimizer = make_optimizer(TrainConfig(optimizer=name, weight_decay=0.0), 1)
    variable = keras.Variable(np.ones(3, "float32"), name="kernel")
    optimizer.build([variable])
    optimizer.apply([keras.ops.zeros(3)], [variable])
    np.testing.assert_array_equal(variable.numpy(), np.ones(3))
