"""METHOD, Replicas: a step on two replicas is the step on one with the whole batch."""

import keras
import numpy as np
import pytest
import steps
import tensorflow as tf
from layers import dtype_policy

from ccsn_tf.losses import JointLoss
from ccsn_tf.models.train_step import Dropout

CLIP = 0.2  # far below the gradient's norm


def sgd():
    return keras.optimizers.SGD(1.0)


@pytest.fixture(scope="module")
def on_one():
    return steps.step_on(tf.distribute.get_strategy(), steps.small_config(clip_norm=CLIP), sgd)


def test_two_replicas_step_as_one_by_the_clipped_gradient_of_the_global_batch(two_replicas, on_one):
    config = steps.small_config(clip_norm=CLIP)
    weights, values = steps.step_on(two_replicas, config, sgd, traced=True)
    np.testing.assert_allclose(weights, on_one[0], atol=2e-6)
    assert values == pytest.approx(on_one[1], abs=1e-5)
    start = np.concatenate([v.numpy().ravel() for v in steps.make_trainable(config, sgd()).trainable_variables])
    assert np.linalg.norm(weights - start) == pytest.approx(CLIP, rel=1e-3)


def test_without_the_gathering_the_step_would_differ(two_replicas, on_one, monkeypatch):
    """The first test can fail: a replica that ranks its own share alone takes another step."""
    monkeypatch.setattr("ccsn_tf.models.train_step._gather", lambda replica, outputs, labels: (outputs, labels))
    weights, _ = steps.step_on(two_replicas, steps.small_config(clip_norm=CLIP), sgd)
    assert np.abs(weights - on_one[0]).max() > 1e-4


def test_replicas_draw_dropout_masks_of_their_own(two_replicas):
    with two_replicas.scope():
        layer = Dropout(0.5)

        @tf.function
        def kept():
            return two_replicas.run(lambda: layer(tf.ones(64), training=True) > 0)

        masks = [mask.numpy() for _ in range(2) for mask in kept().values]
    assert len({mask.tobytes() for mask in masks}) == 4, "in one step, and from one to the next"
    assert all(10 < mask.sum() < 54 for mask in masks)


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


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_steps_are_finite_and_move_the_weights(policy):
    with dtype_policy(policy):
        optimizer = keras.optimizers.SGD(0.05)
        if policy == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=1024.0)
        model = steps.make_trainable(steps.small_config(clip_norm=1.0), optimizer)
        before = np.concatenate([v.numpy().ravel() for v in model.trainable_variables])
        values = model.train_step(steps.make_batch())
    after = np.concatenate([v.numpy().ravel() for v in model.trainable_variables])
    assert np.isfinite(list(map(float, values.values()))).all() and np.isfinite(after).all()
    assert 0 < np.linalg.norm(after - before) <= 0.05 * 1.01  # clipped to norm 1, times the learning rate
