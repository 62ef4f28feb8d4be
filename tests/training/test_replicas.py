"""METHOD, Replicas: a step on two replicas is the step on one with the whole batch."""

import keras
import numpy as np
import pytest
import steps
import tensorflow as tf

from ccsn_tf.losses import JointLoss
from ccsn_tf.models.build import build_model


def sgd():
    return keras.optimizers.SGD(0.1)


@pytest.fixture(scope="module")
def one_device():
    return tf.distribute.OneDeviceStrategy("/cpu:0")


@pytest.fixture(scope="module")
def on_one(one_device):
    return steps.step_on(one_device, steps.small_config(), sgd)


def test_two_replicas_step_as_one(two_replicas, on_one):
    weights, values = steps.step_on(two_replicas, steps.small_config(), sgd)
    np.testing.assert_allclose(weights, on_one[0], atol=2e-6)
    assert values == pytest.approx(on_one[1], abs=1e-5)


def test_clipping_sees_the_gradient_of_the_global_batch(two_replicas, one_device):
    config = steps.small_config(clip_norm=0.05, connection="sum")
    start = np.concatenate([v.numpy().ravel() for v in steps.make_trainable(config, sgd()).trainable_variables])
    weights_one, _ = steps.step_on(one_device, config, lambda: keras.optimizers.SGD(1.0))
    weights_two, _ = steps.step_on(two_replicas, config, lambda: keras.optimizers.SGD(1.0))
    assert np.linalg.norm(weights_one - start) == pytest.approx(0.05, rel=1e-3)
    np.testing.assert_allclose(weights_two, weights_one, atol=2e-6)


def test_without_the_gathering_the_step_would_differ(two_replicas, on_one, monkeypatch):
    """The test above can fail: a replica that ranks its own share alone takes another step."""
    monkeypatch.setattr("ccsn_tf.models.train_step._gather", lambda replica, outputs, labels: (outputs, labels))
    weights, _ = steps.step_on(two_replicas, steps.small_config(), sgd)
    assert np.abs(weights - on_one[0]).max() > 1e-4


def test_step_descends_the_joint_loss():
    """On one device the step's gradient is that of the plain joint loss."""
    config = steps.small_config()
    model = steps.make_trainable(config, keras.optimizers.SGD(0.1))
    inputs, labels = steps.make_batch()
    with tf.GradientTape() as tape:
        loss = JointLoss(lambda_intra=1.0, lambda_inter=1.0)(labels, model(inputs, training=True))
    before = [v.numpy() for v in model.trainable_variables]
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    values = model.train_step((inputs, labels))
    assert float(values["loss"]) == pytest.approx(float(loss), rel=1e-6)
    for variable, start, gradient in zip(model.trainable_variables, before, gradients, strict=True):
        np.testing.assert_allclose(variable.numpy(), start - 0.1 * gradient.numpy(), atol=1e-6)


def test_keras_fit_uses_the_same_step():
    keras.utils.set_random_seed(0)
    model = build_model(steps.small_config().model, steps.CLASSES)
    model.compile(optimizer=keras.optimizers.AdamW(3e-3), loss=JointLoss(), jit_compile=False)
    inputs, labels = steps.make_batch()
    history = model.fit(inputs, labels, batch_size=steps.BATCH, epochs=6, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert {"ce_spatial", "ce_temporal", "ce_fused", "intra", "inter", "spatial", "temporal", "fused"} <= set(history)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_steps_are_finite_and_move_the_weights(policy):
    keras.mixed_precision.set_global_policy(policy)
    try:
        optimizer = keras.optimizers.SGD(0.05)
        if policy == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=1024.0)
        model = steps.make_trainable(steps.small_config(clip_norm=1.0), optimizer)
        before = np.concatenate([v.numpy().ravel() for v in model.trainable_variables])
        values = model.train_step(steps.make_batch())
    finally:
        keras.mixed_precision.set_global_policy("float32")
    after = np.concatenate([v.numpy().ravel() for v in model.trainable_variables])
    assert np.isfinite(list(map(float, values.values()))).all() and np.isfinite(after).all()
    assert 0 < np.linalg.norm(after - before) <= 0.05 * 1.01  # clipped to norm 1, times the learning rate
