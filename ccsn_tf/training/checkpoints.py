"""The whole state of a training run in one file, so that it is there whole or not at all."""

from __future__ import annotations

import json
import pathlib
import zipfile

import keras
import numpy as np

from ccsn_tf.errors import UserError
from ccsn_tf.files import whole_file

_META = "__meta__"


def save_state(path: pathlib.Path, model: keras.Model, optimizer: keras.optimizers.Optimizer, meta: dict) -> None:
    """Writes weights, dropout's random state, optimizer slots and `meta` (JSON-safe: epoch, history, best score)."""
    arrays = {name: variable.numpy() for name, variable in _variables(model, optimizer)}
    with whole_file(path) as beside, beside.open("wb") as file:
        np.savez(file, **arrays, **{_META: np.array(json.dumps(meta))})


def load_state(path: pathlib.Path, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> dict:
    """Reads what `save_state` wrote into the model and optimizer, and returns `meta`.

    Raises:
        UserError: the file is damaged, or of another model.
    """
    try:
        with np.load(path) as arrays:
            variables = _variables(model, optimizer)
            names = {name for name, _ in variables}
            if names != set(arrays.files) - {_META} or any(arrays[n].shape != tuple(v.shape) for n, v in variables):
                raise UserError(f"{path} is of another model: choose another --workdir.")
            for name, variable in variables:
                variable.assign(arrays[name])
            return json.loads(str(arrays[_META]))
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is damaged ({error}): delete it to start the training again.") from None


def _variables(model, optimizer):
    """Every variable of the run with a name of its own: its place in the order of creation and its path."""
    variables = [*model.variables, *optimizer.variables]
    return [(f"{number:04d} {variable.path}".replace("/", "."), variable) for number, variable in enumerate(variables)]
