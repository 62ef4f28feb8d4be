"""Where the training runs: `tf.distribute` strategies by name."""

import json
import os

import tensorflow as tf

from ccsn_tf.config import TrainConfig
from ccsn_tf.errors import UserError


def make_strategy(config: TrainConfig) -> tf.distribute.Strategy:
    """The strategy that `config.strategy` names: call it once a process, before anything uses TensorFlow's devices.

    "single": one device. "mirrored": every GPU of the machine, or all that its CPU is split in. "multiworker": the
    processes that the environment variable TF_CONFIG lists, each with its devices. "auto": multiworker if TF_CONFIG
    names more than one worker, else mirrored if there are several GPUs, else single.

    Raises:
        UserError: multiworker without a usable TF_CONFIG.
    """
    gpus = tf.config.list_physical_devices("GPU")
    name = config.strategy
    if name == "auto":
        name = "multiworker" if len(_workers()) > 1 else "mirrored" if len(gpus) > 1 else "single"
    if name == "multiworker":
        if not _workers():
            raise UserError(
                "--strategy=multiworker needs the environment variable TF_CONFIG with cluster.worker (a list of "
                "host:port) and task.index: set it on every worker."
            )
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "mirrored":
        devices = [device.name for device in tf.config.list_logical_devices("GPU" if gpus else "CPU")]
        return tf.distribute.MirroredStrategy(devices)
    # TensorFlow's own, which takes the first GPU. Not OneDeviceStrategy: it feeds `fit` through a generator dataset,
    # with which every step takes twice as long (TensorFlow 2.21, docs/TRIALS.md).
    return tf.distribute.get_strategy()


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes files."""
    resolver = strategy.cluster_resolver
    return resolver is None or not resolver.task_type or resolver.task_id == 0


def _workers() -> list[str]:
    try:
        return json.loads(os.environ.get("TF_CONFIG", "{}"))["cluster"]["worker"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return []
