"""From a configuration to a trained model, through `keras.Model.fit`."""

import contextlib
import functools
import importlib.util
import pathlib
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from ccsn_tf.config import Config
from ccsn_tf.config.settings import PREDICTIONS, STREAMS
from ccsn_tf.data.pipeline import Steps, centre_batches, evaluation_views, training_batches
from ccsn_tf.data.plan import Plan, training_plan
from ccsn_tf.data.records.selection import cautions, select_clips
from ccsn_tf.errors import UserError
from ccsn_tf.files import whole_file
from ccsn_tf.losses import JointLoss
from ccsn_tf.models.build import build_model
from ccsn_tf.models.ccsn import CCSN
from ccsn_tf.progress import Progress
from ccsn_tf.training.callbacks import BestWeights, SynchroniseStatistics, write_rows
from ccsn_tf.training.cooperation import CooperationState
from ccsn_tf.training.feature_cache import FeatureCache
from ccsn_tf.training.initial_weights import start_from_runs
from ccsn_tf.training.optimizer import freeze, lr_factors, make_optimizer
from ccsn_tf.training.resume import ResumableState
from ccsn_tf.training.strategy import is_chief, make_strategy
from ccsn_tf.training.workdir import check_workdir, lock_workdir

_VALIDATION_BATCH = 8  # clips


def train(
    config: Config,
    say: Callable[[str], None] = lambda line: None,
    draw: Callable[[Sequence[dict], pathlib.Path], None] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int = 0,
) -> CCSN:
    """Trains as `config` says, from the records in `config.data.record_dir`, into `config.train.workdir`.

    The work directory receives config.json, classes.json, history.csv, history.png, tensorboard/, checkpoints/last.npz
    (everything needed to go on), checkpoints/best.weights.h5 (highest fused validation top-1) and, at the end,
    model.keras: the weights after the last epoch (with `ema`, their average), not the best, so that no figure is chosen
    by the clips it is measured on. A run that was killed goes on from its last checkpoint, and ends as it would have
    uninterrupted. With more `epochs` a finished one goes on, too, unless the schedule is cosine, which ended at 0.

    Args:
        config: all settings.
        say: receives lines for people.
        draw: draws history.png from the rows of history.csv.
        callbacks: more callbacks for `fit`.
        verbose: of `fit`: 0 silent, 1 a progress bar, 2 a line per epoch.

    Returns:
        The trained model.

    Raises:
        UserError: bad settings, records or work directory, or another process trains there.
    """
    with contextlib.ExitStack() as held:
        return _train(config, say, draw, callbacks, verbose, held)


def _train(config, say, draw, callbacks, verbose, held):
    """`train`; from the first writing on, the work directory is `held`."""
    workdir = check_workdir(config, more_epochs=True)
    strategy = make_strategy(config.train)
    classes, training, validation = select_clips(config)
    replicas, batch = strategy.num_replicas_in_sync, config.data.batch_size
    if batch % replicas:
        raise UserError(
            f"--classes_per_batch x --clips_per_class = {batch} does not divide among {replicas} replicas: change one "
            "of them."
        )
    keras.utils.set_random_seed(config.train.seed)
    if config.train.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.mixed_precision.set_global_policy(config.train.precision)

    @functools.lru_cache(maxsize=1)  # the first is asked for twice: its steps, its batches
    def plan(epoch: int) -> Plan:
        return training_plan(training, classes, config.data, config.model, config.train.seed, epoch)

    steps = len(plan(0)["label"])
    state_path = workdir / "checkpoints" / "last.npz"
    with strategy.scope():
        short_side = int(np.median([min(clip.height, clip.width) for clip in training]))
        model = build_model(config.model, classes, config.data, short_side)
        if not state_path.is_file():
            start_from_runs(model, config.train)
        factors = lr_factors(model, config.train.lr_mults)
        cache = FeatureCache(model, config) if config.train.feature_cache else None
        freeze(model, factors)
        trained = cache.top if cache else model
        optimizer = make_optimizer(config.train, steps, factors)
        trained.compile(optimizer, JointLoss(**vars(config.loss)), clip_norm=config.train.clip_norm, jit_compile=False)
    held.enter_context(lock_workdir(workdir, config, classes, is_chief(strategy)))
    statistics = SynchroniseStatistics()
    state = ResumableState(state_path, model, steps, config.train.checkpoint_minutes, statistics, say)
    state.restore(trained)
    if state.epoch and state.epoch < config.train.epochs and (workdir / "model.keras").is_file():
        say(f"until the last of {config.train.epochs} epochs, {workdir / 'model.keras'} is that of {state.epoch}")
    if cache:
        cache.add_training(training, Progress("features", "clips"))

    @functools.lru_cache(maxsize=1)
    def rows(epoch: int) -> Plan:
        return cache.choose(plan(epoch), epoch) if cache else plan(epoch)

    def batch_of(step: int) -> Plan:
        return {name: values[step % steps] for name, values in rows(step // steps).items()}

    ahead = Steps(batch_of, state.epoch * steps + state.step, config.train.epochs * steps)

    def batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
        local = replicas // context.num_input_pipelines
        share = slice(context.input_pipeline_id * local, (context.input_pipeline_id + 1) * local)
        if cache:
            return cache.training_batches(training, ahead, replicas, share)
        return training_batches(ahead, config.model, replicas, share)

    if replicas > 1:
        data = strategy.distribute_datasets_from_function(batches)
    else:
        data = batches(tf.distribute.InputContext())
    views = _validation(config, classes, validation, cache) if validation else None
    say(
        f"{len(training)} training and {len(validation)} validation clips of {len(classes)} classes, "
        f"{model.count_params():,} parameters, {replicas} replica(s), {config.train.epochs} epochs of {steps} steps, "
        f"{batch} clips per step"
    )
    tested = classes if config.train.validate_on == "none" else [clip.label for clip in validation]
    for caution in cautions(classes, [clip.label for clip in training], tested):
        say(caution)
    trained.fit(
        data,
        epochs=config.train.epochs,
        initial_epoch=state.epoch,
        steps_per_epoch=steps,
        shuffle=False,  # the plan has done it
        validation_data=views,
        validation_freq=_validation_epochs(config.train),
        callbacks=[*_callbacks(config, workdir, model, strategy, statistics, state, views, draw, say), *callbacks],
        verbose=verbose,
    )
    if is_chief(strategy):
        with whole_file(workdir / "model.keras") as beside:
            model.save(beside)
        say(f"{workdir / 'model.keras'} written")
        if validation:
            say(outcome(state.rows[-1], len(validation), "test" if not config.data.fold else "held-out"))
    return model


def outcome(row: dict, clips: int, kind: str) -> str:
    """How each prediction did on the validation clips, in a sentence, and what to do where fused is not the best.

    Args:
        row: of history.csv, with `val_spatial`, `val_temporal` and `val_fused`.
        clips: how many were measured, with the training's number of segments.
        kind: of clips, in words.
    """
    found = {name: 100 * row[f"val_{name}"] for name in PREDICTIONS}
    figures = ", ".join(f"{name} {value:.1f}" for name, value in found.items())
    line = f"On {clips} {kind} clips, centre views: {figures} % top-1."
    best = max(STREAMS, key=found.get)
    if found[best] - found["fused"] > 0.5:
        line += f" The {best} prediction is above the fused one: choose by --fold, and take {best}_scores of an export."
    return line


def _validation_epochs(config):
    """The epochs, from 1, after which to validate: every `validate_every`, and the last."""
    return sorted({*range(config.validate_every, config.epochs + 1, config.validate_every), config.epochs})


def _validation(config, classes, clips, cache):
    """({name: uint8 (b, K, ...)}, labels (b,)): the centre views of the validation clips."""
    segments = config.model.num_segments
    if cache:
        views = cache.evaluation_views(clips, classes, segments, 1, Progress("features, validation", "clips"))
    else:
        views = evaluation_views(clips, classes, config.data.record_dir, config.model, segments, 1)
    return centre_batches(views, _VALIDATION_BATCH)


def _callbacks(config, workdir, model, strategy, statistics, state, views, draw, say):
    """Keras's callbacks and ours, in the order in which they have to see the end of an epoch."""
    averaged = [keras.callbacks.SwapEMAWeights()] if config.train.ema else []
    if not is_chief(strategy):
        return [statistics, *averaged, state]
    highest = max((row.get("val_fused", -1.0) for row in state.rows), default=-1.0)
    cooperation = [CooperationState(lambda: next(iter(views))[0], say)] if views else []
    best = BestWeights(workdir / "checkpoints" / "best.weights.h5", model, highest)
    if importlib.util.find_spec("tensorboard"):
        boards = [keras.callbacks.TensorBoard(workdir / "tensorboard", write_graph=False)]
    else:
        boards = []
        say("no tensorboard/: pip install 'ccsn_tf[tensorboard]'")

    def write(epoch, logs):
        state.write()
        write_rows(workdir / "history.csv", state.rows)
        if draw:
            try:
                draw(state.rows, workdir / "history.png")
            except UserError as error:  # matplotlib is optional
                if epoch == 0:
                    say(f"no history.png: {error}")

    return [
        statistics,
        best,
        *averaged,
        *cooperation,
        state,
        *boards,
        keras.callbacks.LambdaCallback(on_epoch_end=write),
    ]
