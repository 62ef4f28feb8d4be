"""The learning rate over time, and the optimizer that follows it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import keras
from keras import ops

from ccsn_tf.config import TrainConfig
from ccsn_tf.errors import UserError
from ccsn_tf.training.rates import SGD, AdamW


@keras.saving.register_keras_serializable("ccsn_tf")
class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to the peak, then constant, stepwise or cosine decay (to zero at the last step).

    Args:
        kind: "constant", "step" or "cosine".
        peak: learning rate after the warm-up.
        warmup_steps: steps from (nearly) zero to the peak.
        total_steps: steps of the whole training.
        drop_steps: kind "step": the steps after which the rate is multiplied by `drop_factor`.
        drop_factor: see `drop_steps`.
    """

    def __init__(self, kind, peak, warmup_steps, total_steps, drop_steps=(), drop_factor=0.1):
        super().__init__()
        self.kind, self.peak, self.warmup_steps, self.total_steps = kind, peak, warmup_steps, total_steps
        self.drop_steps, self.drop_factor = tuple(drop_steps), drop_factor

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rate = ops.cast(self.peak, "float32")
        if self.kind == "step":
            drops = sum(ops.cast(step >= drop, "float32") for drop in self.drop_steps)
            rate = rate * ops.power(ops.cast(self.drop_factor, "float32"), drops)
        if self.kind == "cosine":
            decay_steps = max(1, self.total_steps - self.warmup_steps)
            done = ops.clip((step - self.warmup_steps) / decay_steps, 0.0, 1.0)
            rate = rate * 0.5 * (1.0 + ops.cos(math.pi * done))
        if self.warmup_steps:
            rate = rate * ops.minimum(1.0, (step + 1.0) / self.warmup_steps)
        return rate

    def get_config(self):
        names = ("kind", "peak", "warmup_steps", "total_steps", "drop_steps", "drop_factor")
        return {name: getattr(self, name) for name in names}


def make_optimizer(
    config: TrainConfig, steps_per_epoch: int, factors: Mapping[int, float] | None = None
) -> keras.optimizers.Optimizer:
    """SGD with momentum or AdamW, with decoupled weight decay on kernels; loss scaling where float16 needs it.

    Args:
        config: the optimizer's settings.
        steps_per_epoch: what the schedule's epochs are multiplied by.
        factors: from `rate_factors`.

    Raises:
        UserError: a step schedule without steps.
    """
    if config.schedule == "step" and not config.step_epochs:
        raise UserError("--schedule=step needs --step_epochs, as in --step_epochs=30,60.")
    schedule = WarmupSchedule(
        config.schedule,
        config.learning_rate,
        round(config.warmup_epochs * steps_per_epoch),
        config.epochs * steps_per_epoch,
        [epoch * steps_per_epoch for epoch in config.step_epochs],
        config.step_factor,
    )
    decay = config.weight_decay
    if config.optimizer == "sgd":
        optimizer = SGD(schedule, momentum=config.momentum, weight_decay=decay or None)
    else:
        optimizer = AdamW(schedule, weight_decay=decay)
    optimizer.set_factors(factors or {})
    if decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "width"])
    if config.precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer
