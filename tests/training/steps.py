"""One training step of a small model on a fixed batch, under any strategy."""

import keras
import numpy as np
import tensorflow as tf
from small_models import SMALL, clips

from ccsn_tf.config import Config
from ccsn_tf.losses import JointLoss
from ccsn_tf.models.build import build_model

CLASSES = ("a", "b", "c")
BATCH = 8


def small_config(**changes):
    """A model small enough for tests; no dropout, since every replica draws its own."""
    small = {**SMALL, "connection": "sum", "image_size": 32, "num_segments": 2, "flow_length": 2, "dropout": 0.0}
    return Config().replace(**small, **changes)


def make_batch(seed=0):
    """(inputs, labels) of BATCH clips, with positives and negatives in each half and across the halves."""
    inputs = clips(BATCH, segments=2, flow_length=2, seed=seed, size=32)
    return inputs, np.array([0, 0, 1, 2, 1, 0, 2, 2], np.int32)


def make_trainable(config, optimizer):
    """A compiled model with frozen BatchNormalization (its batch statistics are a replica's own by design)."""
    keras.utils.set_random_seed(1)
    model = build_model(config.model, CLASSES)
    randomise_joints(model)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    loss = JointLoss(lambda_intra=1.0, lambda_inter=1.0)
    model.compile(optimizer=optimizer, loss=loss, clip_norm=config.train.clip_norm, jit_compile=False)
    optimizer.build(model.trainable_variables)
    return model


def randomise_joints(model):
    """Scales of the connection's last BatchNormalization away from zero, so that the streams see one another."""
    for block in model.connection_blocks:
        for norm in block.norms:
            norm.gamma.assign(keras.ops.ones_like(norm.gamma))


def step_on(strategy, config, make_optimizer, traced=False):
    """Weights (flat, float32) and reported values after a step on the global batch; `traced`: as a graph."""
    with strategy.scope():
        model = make_trainable(config, make_optimizer())
    inputs, labels = make_batch()
    dataset = tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(BATCH)

    def step(batch):
        strategy.run(model.train_step, args=(batch,))

    for batch in strategy.experimental_distribute_dataset(dataset):
        (tf.function(step) if traced else step)(batch)
    values = {name: float(value) for name, value in model.get_metrics_result().items()}
    return np.concatenate([v.numpy().ravel() for v in model.trainable_variables]), values
