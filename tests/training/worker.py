"""Trainings in a process of their own, which begins with TensorFlow imported (`commands.forked`)."""

import json
import os
import signal

import keras
import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.training.train import train


class Kill(keras.callbacks.Callback):
    """`kill -9` of this process after so many steps."""

    def __init__(self, steps):
        super().__init__()
        self._left = steps

    def on_train_batch_end(self, batch, logs=None):
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)


def train_and_be_killed(folder, steps):
    """Trains as the folder's config.json says, until it is killed."""
    train(Config.of_run(folder), callbacks=[Kill(steps)])


def train_as_worker(folder, addresses, index):
    """One of several workers; keeps its final weights, and how many replicas there were, in `folder`."""
    task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    os.environ["TF_CONFIG"] = json.dumps(task)
    model = train(Config.of_run(folder))
    replicas = model.distribute_strategy.num_replicas_in_sync
    np.savez(folder / f"{index}.npz", *[variable.numpy() for variable in model.variables], replicas=replicas)
