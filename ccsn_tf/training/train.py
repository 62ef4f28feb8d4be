"""The training run: epochs over plans, one loop for every strategy, resumable at any moment."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from ccsn_tf.config import Config, DataConfig
from ccsn_tf.data.cache import cache_records
from ccsn_tf.data.pipeline import evaluation_views, training_batches
from ccsn_tf.data.plan import Plan, training_plan
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.metrics import top_k_accuracy
from ccsn_tf.evaluation.protocol import make_forward, score_clips
from ccsn_tf.files import whole_file
from ccsn_tf.losses import JointLoss
from ccsn_tf.models.build import build_model
from ccsn_tf.progress import Progress, clock
from ccsn_tf.training.averaging import WeightAverage
from ccsn_tf.training.checkpoints import load_state, save_state
from ccsn_tf.training.clips import select_clips
from ccsn_tf.training.feature_cache import FrozenMaps
from ccsn_tf.training.freezing import freeze_stages
from ccsn_tf.training.history import History
from ccsn_tf.training.optimizer import make_optimizer
from ccsn_tf.training.rates import rate_factors
from ccsn_tf.training.start import start_from_runs
from ccsn_tf.training.strategy import is_chief, make_strategy
from ccsn_tf.training.workdir import check_workdir, claim_workdir


def train(config: Config, say: Callable[[str], None] = lambda line: None) -> keras.Model:
    """Trains as `config` says, from the records in `config.data.record_dir`, into `config.train.workdir`.

    The work directory receives config.json, classes.json, history.csv, history.png, tensorboard/, checkpoints/last.npz
    (everything needed to go on), checkpoints/best.weights.h5 (highest fused validation top-1) and, at the end,
    model.keras: the weights after the last epoch (with `ema`, their average), not the best, so that no figure is chosen
    by the clips it is measured on. A run that was killed goes on from its last checkpoint, and ends as it would have
    uninterrupted.

    Args:
        config: all settings.
        say: receives lines for people.

    Returns:
        The trained model.

    Raises:
        UserError: bad settings, records or work directory.
    """
    workdir = check_workdir(config)
    run = _Run(config, workdir, make_strategy(config.train), say)
    while run.epoch < config.train.epochs:
        run.train_epoch()
    return run.finish()


class _Run:
    """The state of a run: model, optimizer, epoch and step reached, history."""

    def __init__(self, config: Config, workdir: pathlib.Path, strategy: tf.distribute.Strategy, say):
        self.config, self.workdir, self.strategy, self.say = config, workdir, strategy, say
        self.chief = is_chief(strategy)
        self.classes, self.training, self.validation = select_clips(config)
        self._data = config.data
        self.replicas = strategy.num_replicas_in_sync
        if config.data.batch_size % self.replicas:
            raise UserError(
                f"--classes_per_batch x --clips_per_class = {config.data.batch_size} does not divide among "
                f"{self.replicas} replicas: change one of them."
            )
        keras.utils.set_random_seed(config.train.seed)
        if config.train.deterministic:
            tf.config.experimental.enable_op_determinism()
        keras.mixed_precision.set_global_policy(config.train.precision)
        self.steps = self._plan(0)["label"].shape[0]
        with strategy.scope():
            self.model = build_model(config.model, self.classes, config.train.partial_bn, config.data)
            if not self._state_path.is_file():
                start_from_runs(self.model, config.train)
            freeze_stages(self.model, config.train)
            self.optimizer = make_optimizer(config.train, self.steps, rate_factors(self.model, config.train))
            self.model.compile(optimizer=self.optimizer, loss=JointLoss(**vars(config.loss)), jit_compile=False)
            self.model.clip_norm = config.train.clip_norm
            self.optimizer.build(self.model.trainable_variables)
            self._ema = WeightAverage(self.model.trainable_variables, config.train.ema) if config.train.ema else None
        self._step = tf.function(lambda batch: strategy.run(self.model.train_step, args=(batch,)))
        self._average = tf.function(lambda: strategy.run(self._average_statistics))
        self._follow = tf.function(lambda: self._ema.update(strategy))
        self.epoch, self.step, self._totals, self._seconds, self.best = 0, 0, {}, 0.0, -1.0
        claim_workdir(workdir, config, self.classes)
        self._data = self._nearby()
        rows = self._resume()
        self._frozen = self._keep_maps() if config.train.frozen_cache else None
        self._forward = make_forward(self._frozen.upper if self._frozen else self.model)
        if self.chief:
            self.history = History(workdir, rows)
        self._say_beginning()

    @property
    def _state_path(self):
        return self.workdir / "checkpoints" / "last.npz"

    def _nearby(self) -> DataConfig:
        """The data settings with the records where they are to be read from, which are copied there if need be."""
        data, clips = self.config.data, [*self.training, *self.validation]
        if not data.cache:
            return data
        folder = cache_records(data.record_dir, data.cache, clips, Progress("cache", "MB"))
        return dataclasses.replace(data, record_dir=folder)

    def _keep_maps(self) -> FrozenMaps:
        """What the frozen stages make of the training views; from here on the model is trained on that."""
        frozen = FrozenMaps(self.model, self.config)  # after the weights were restored: they name the files
        frozen.keep_training(self.training, Progress("frozen stages", "clips"))
        self.model.upper = lambda: frozen.upper
        return frozen

    def _plan(self, epoch: int) -> Plan:
        return training_plan(self.training, self.classes, self._data, self.config.model, self.config.train.seed, epoch)

    def _resume(self) -> list[dict]:
        if not self._state_path.is_file():
            return []
        meta = load_state(self._state_path, self._variables())
        self.epoch, self.step, self.best = meta["epoch"], meta["step"], meta["best"]
        self._totals, self._seconds = meta["totals"], meta["seconds"]
        return meta["rows"]

    def _is_time_to_save(self, seconds: float) -> bool:
        """Inside an epoch one process saves by the clock; several would have to agree on the moment, and do not."""
        alone = self.strategy.cluster_resolver is None
        return alone and self.step < self.steps and seconds > 60 * self.config.train.checkpoint_minutes

    def _save(self) -> None:
        self._synchronise()
        self._write_state()

    def _write_state(self) -> None:
        meta = {
            "epoch": self.epoch,
            "step": self.step,
            "best": self.best,
            "totals": {name: float(total) for name, total in self._totals.items()},
            "seconds": self._seconds,
            "rows": self.history.rows,
        }
        save_state(self._state_path, self._variables(), meta)

    def _variables(self) -> list[keras.Variable]:
        """The whole state of a run: weights, dropout's random state, optimizer slots, averaged weights."""
        averages = self._ema.variables if self._ema else []
        return [*self.model.variables, *self.optimizer.variables, *averages]

    def _kept_weights(self):
        """A context in which the model has the weights that the run is for: the averaged ones, if there are any."""
        return self._ema.in_place() if self._ema else contextlib.nullcontext()

    def _synchronise(self) -> None:
        """Makes every replica's BatchNormalization statistics the mean over replicas.

        Each replica keeps running averages of its own; their updates are linear, so averaging them whenever they are
        read is the same as averaging them in every step.
        """
        if self.replicas > 1:
            self._average()

    def _average_statistics(self) -> None:
        replica = tf.distribute.get_replica_context()
        for variable in self.model.non_trainable_variables:
            if variable.dtype == "float32":  # not the random states of dropout
                variable.assign(replica.all_reduce(tf.distribute.ReduceOp.MEAN, tf.identity(variable.value)))

    def train_epoch(self) -> None:
        """Trains the rest of the current epoch, validates, writes history and checkpoint."""
        plan = {name: values[self.step :] for name, values in self._plan(self.epoch).items()}
        progress = Progress(f"epoch {self.epoch + 1}/{self.config.train.epochs}", "steps")
        begun = saved = time.monotonic()
        for batch in self._batches(plan):
            values = self._step(batch)
            if self._ema:
                self._follow()
            for name, value in values.items():
                local = self.strategy.experimental_local_results(value)[0]
                self._totals[name] = self._totals.get(name, 0.0) + local
            self.step += 1
            if self.chief:
                progress(self.step, self.steps, lambda: _in_words(self._means()))
            now = time.monotonic()
            if self._is_time_to_save(now - saved):
                self._seconds, begun, saved = self._seconds + now - begun, now, now
                self._save()
        self._seconds += time.monotonic() - begun
        row = {
            "epoch": self.epoch + 1,
            "seconds": self._seconds,
            "learning_rate": self._learning_rate(),
            **self._means(),
        }
        self.epoch, self.step, self._totals, self._seconds = self.epoch + 1, 0, {}, 0.0
        self._synchronise()
        if self.chief:
            with self._kept_weights():
                row |= self._validate()
            self.history.add(row)
            self._say_epoch(row)
            self._write_state()

    def finish(self) -> keras.Model:
        """Writes model.keras."""
        if self.chief:
            with self._kept_weights(), whole_file(self.workdir / "model.keras") as beside:
                self.model.save(beside)
            self.say(f"{self.workdir / 'model.keras'} written")
        return self.model

    def _batches(self, plan: Plan):
        """What each step of `strategy.run` takes, in order."""
        if isinstance(self.strategy, tf.distribute.OneDeviceStrategy):
            # Which would hand the batches on through a dataset of its own, whose tuner holds up the end (`untuned`).
            return self._own_batches(plan, tf.distribute.InputContext())
        return self.strategy.distribute_datasets_from_function(lambda context: self._own_batches(plan, context))

    def _own_batches(self, plan: Plan, context: tf.distribute.InputContext) -> tf.data.Dataset:
        local = self.replicas // context.num_input_pipelines
        first = context.input_pipeline_id * local
        share = slice(first, first + local)
        if self._frozen:
            rng = np.random.default_rng([self.config.train.seed, self.epoch, self.step])
            return self._frozen.training_batches(self.training, plan, rng, self.replicas, share)
        return training_batches(plan, self.config.model, self.replicas, share)

    def _means(self) -> dict[str, float]:
        return {name: float(total) / max(1, self.step) for name, total in self._totals.items()}

    def _learning_rate(self) -> float:
        return float(keras.ops.convert_to_numpy(self.optimizer.learning_rate))

    def _validate(self) -> dict[str, float]:
        last = self.epoch == self.config.train.epochs
        if not self.validation or (self.epoch % self.config.train.validate_every and not last):
            return {}
        model, segments = self.config.model, self.config.model.num_segments
        if self._frozen:
            progress = Progress("frozen stages, validation", "clips")
            views = self._frozen.evaluation_views(self.validation, self.classes, segments, 1, progress)
        else:
            views = evaluation_views(self.validation, self.classes, self._data.record_dir, model, segments, 1)
        scores = score_clips(self._forward, views, len(self.validation), model, segments, 1)
        tops = {f"val_{name}": top_k_accuracy(logits, scores.labels, 1) for name, logits in scores.logits.items()}
        if tops["val_fused"] > self.best:
            self.best = tops["val_fused"]
            with whole_file(self.workdir / "checkpoints" / "best.weights.h5") as beside:
                self.model.save_weights(beside)
        return tops

    def _say_beginning(self) -> None:
        clips = f"{len(self.training)} training and {len(self.validation)} validation clips"
        steps = f"{self.config.train.epochs} epochs of {self.steps} steps, {self.config.data.batch_size} clips a step"
        size = f"{self.model.count_params():,} parameters, {self.replicas} replica(s)"
        self.say(f"{clips} of {len(self.classes)} classes, {size}, {steps}")
        if self.epoch or self.step:
            self.say(f"going on after epoch {self.epoch}, step {self.step}")

    def _say_epoch(self, row: dict) -> None:
        validation = {name.removeprefix("val_"): value for name, value in row.items() if name.startswith("val_")}
        text = f", validation top-1: {_shares(validation)}" if validation else ""
        self.say(f"epoch {row['epoch']}: loss {row['loss']:.3f}, top-1: {_shares(row)}{text}, {clock(row['seconds'])}")
        for note in self.history.notes():
            self.say(note)


def _in_words(means: dict[str, float]) -> str:
    terms = " ".join(
        f"{name} {means[name]:.2f}" for name in ("loss", "ce_spatial", "ce_temporal", "ce_fused", "intra", "inter")
    )
    return f"{terms} | top-1 {_shares(means)}"


def _shares(values: dict[str, float]) -> str:
    return " ".join(f"{name} {100 * values[name]:.1f}" for name in ("spatial", "temporal", "fused")) + " %"
