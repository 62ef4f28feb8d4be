"""Streams that start from those of finished runs."""

import pathlib

import numpy as np

from ccsn_tf.config import TrainConfig
from ccsn_tf.config.settings import STREAMS
from ccsn_tf.errors import UserError
from ccsn_tf.models.build import load_model
from ccsn_tf.models.ccsn import CCSN


def start_from_runs(model: CCSN, config: TrainConfig) -> None:
    """Copies streams of the runs `init_spatial` and `init_temporal` into `model`, in place.

    A stream is its backbone and, where the runs have the same classes and consensus, its classifier, with the relations
    that `consensus="trn"` has before it. What joins the streams stays as it is, so that a new connection block, which
    is the identity, leaves both predictions as they were.

    Raises:
        UserError: no finished run, or one of another network.
    """
    for stream in STREAMS:
        workdir = getattr(config, f"init_{stream}")
        if workdir:
            _copy_stream(load_model(str(pathlib.Path(workdir, "model.keras"))), model, stream, workdir)


def _copy_stream(source: CCSN, target: CCSN, stream: str, workdir: str) -> None:
    parts = [(source.network(stream), target.network(stream))]
    if _ending(source) == _ending(target):
        for name in (f"{stream}_consensus", f"{stream}_logits"):
            parts.append((source.get_layer(name), target.get_layer(name)))
    for theirs, ours in parts:
        arrays, weights = theirs.get_weights(), ours.weights
        if [np.shape(array) for array in arrays] != [tuple(weight.shape) for weight in weights]:
            raise UserError(
                f"--init_{stream}={workdir} has a {stream} stream of another shape: give a run with the same "
                "--backbone and --flow_length."
            )
        ours.set_weights(arrays)


def _ending(model: CCSN) -> tuple:
    """What the classifiers of two models must have in common for one to serve the other."""
    settings = model.get_config()
    relates = settings["consensus"] == "trn"
    return model.classes, settings["consensus"], settings["num_segments"] if relates else None
