"""The optimizer, its schedule, and learning rates of single weights."""

import re
from collections.abc import Mapping, Sequence

import keras

from ccsn_tf.config import TrainConfig
from ccsn_tf.config.settings import STREAMS
from ccsn_tf.errors import UserError
from ccsn_tf.models.ccsn import CCSN
from ccsn_tf.models.weights import weight_names


def lr_factors(model: CCSN, lr_mults: Sequence[str]) -> dict[int, float]:
    """What the learning rate of each weight is multiplied by.

    Args:
        model: the network.
        lr_mults: "regular expression:factor" each; an expression is searched in `weight_names`, and the factors of all
            that match multiply. TSN's recipes (Wang et al., ECCV 2016) use such factors; and a connection block, whose
            scale starts at zero, hardly moves in a short training at the rate of pretrained streams.

    Returns:
        {id of a trainable variable: factor}; weights with the factor 1 are left out.

    Raises:
        UserError: an expression that matches nothing, unless it means the blocks of a model that has none.
    """
    names, factors = weight_names(model), {}
    for entry in lr_mults:
        pattern, _, factor = entry.rpartition(":")
        matches = [number for number, name in names.items() if re.search(pattern, name)]
        absent = not model.connection_blocks and re.search(
            pattern, "connection/"
        )  # one flag file serves --connection=none too
        if not matches and not absent:
            some = ", ".join(sorted({name.rpartition("/")[0] for name in names.values()})[:5])
            raise UserError(f"--lr_mults={entry} matches no weight: their names are such as {some}.")
        for number in matches:
            factors[number] = factors.get(number, 1.0) * float(factor)
    return {number: factor for number, factor in factors.items() if factor != 1.0}


def freeze(model: CCSN, factors: Mapping[int, float]) -> None:
    """Freezes the layers whose weights all have the factor 0, in place; to be called before `compile`.

    They are not trained, and their BatchNormalizations use the statistics that they start with and keep them.
    """
    stages = [stage for stream in STREAMS for stage in model.stages(stream).values()]
    rest = [layer for layer in model.layers if not isinstance(layer, keras.Model)]
    for layer in [*(layer for stage in stages for layer in stage.layers), *rest]:
        if layer.trainable_variables and _all_zero(layer, factors):
            layer.trainable = False


def frozen_stage(model: CCSN, factors: Mapping[int, float]) -> str:
    """The last stage up to which `factors` freeze both streams; empty: there is none. To be called before `freeze`."""
    frozen = ""
    for stage in model.stages("spatial"):
        if not all(_all_zero(model.stages(stream)[stage], factors) for stream in STREAMS):
            break
        frozen = stage
    return frozen


def _all_zero(layer, factors):
    return all(factors.get(id(variable)) == 0 for variable in layer.trainable_variables)


class _WithFactors:
    """Mixin for a Keras optimizer: `set_factors` gives weights a multiple of the learning rate.

    Weight decay follows the common rate. The factors are those of a live model and are not saved.
    """

    _factors: Mapping[int, float] = {}

    def set_factors(self, factors: Mapping[int, float]) -> None:
        """Takes {id of a variable: factor}."""
        self._factors = dict(factors)

    def update_step(self, gradient, variable, learning_rate):
        # Under TensorFlow this is the variable inside the Keras variable, and a replica's share of it at that.
        whole = self._trainable_variables[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * self._factors.get(id(whole), 1.0))


@keras.saving.register_keras_serializable("ccsn_tf")
class SGD(_WithFactors, keras.optimizers.SGD):
    """Keras's SGD, with rates per weight."""


@keras.saving.register_keras_serializable("ccsn_tf")
class AdamW(_WithFactors, keras.optimizers.AdamW):
    """Keras's AdamW, with rates per weight."""


def make_schedule(config: TrainConfig, steps_per_epoch: int):
    """Keras's schedule, or a float: cosine decay to zero after a linear warm-up, drops by `step_factor`, or constant.

    Raises:
        UserError: a step schedule without steps.
    """
    rate, steps = config.learning_rate, config.epochs * steps_per_epoch
    if config.schedule == "cosine":
        warmup = min(round(config.warmup_epochs * steps_per_epoch), steps - 1)
        if not warmup:
            return keras.optimizers.schedules.CosineDecay(rate, steps)
        return keras.optimizers.schedules.CosineDecay(
            rate / warmup, steps - warmup, warmup_target=rate, warmup_steps=warmup
        )
    if config.schedule == "constant":
        return rate
    if not config.step_epochs:
        raise UserError("--schedule=step needs --step_epochs, as in --step_epochs=30,60.")
    # A boundary is the last step before the drop.
    drops = [epoch * steps_per_epoch - 1 for epoch in config.step_epochs]
    rates = [rate * config.step_factor**number for number in range(len(drops) + 1)]
    return keras.optimizers.schedules.PiecewiseConstantDecay(drops, rates)


def make_optimizer(
    config: TrainConfig, steps_per_epoch: int, factors: Mapping[int, float] | None = None
) -> keras.optimizers.Optimizer:
    """SGD with momentum or AdamW, with decoupled weight decay on kernels; loss scaling where float16 needs it.

    Args:
        config: the optimizer's settings; with `ema` it averages the weights.
        steps_per_epoch: what the schedule's epochs are multiplied by.
        factors: from `lr_factors`.

    Raises:
        UserError: a step schedule without steps.
    """
    common = {"learning_rate": make_schedule(config, steps_per_epoch), "weight_decay": config.weight_decay}
    if config.ema:
        common |= {"use_ema": True, "ema_momentum": config.ema}
    if config.optimizer == "sgd":
        common["weight_decay"] = config.weight_decay or None
        optimizer = SGD(momentum=config.momentum, **common)
    else:
        optimizer = AdamW(**common)
    if config.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma", "width"])
    optimizer.set_factors(factors or {})
    if config.precision == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer
