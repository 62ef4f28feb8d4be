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
    arrays = {_entry(number, variable): variable.numpy() for number, variable in _variables(model, optimizer)}
    with whole_file(path) as beside, beside.open("wb") as file:
        np.savez(file, **arrays, **{_META: np.array(json.dumps(meta))})


def load_state(path: pathlib.Path, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> dict:
    """Reads what `save_state` wrote into the model and optimizer, and returns `meta`.

    Raises:
        UserError: the file is damaged, or of another model.
    """
    try:
        with path.open("rb") as file, np.load(file) as stored:
            meta = json.loads(str(stored[_META]))
            arrays = [stored[name] for name in sorted(set(stored.files) - {_META})]
    except (OSError, EOFError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}): delete it to start the training again.") from None
    variables = [variable for _, variable in _variables(model, optimizer)]
    if [array.shape for array in arrays] != [tuple(variable.shape) for variable in variables]:
        raise UserError(f"{path} is of another model: choose another --workdir.")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
    return meta


def _variables(model, optimizer):
    """Every variable of the run, numbered in the order of creation; Keras numbers paths anew in every process."""
    return list(enumerate([*model.variables, *optimizer.variables]))


def _entry(number, variable):
    return f"{number:04d} {variable.path}".replace("/", ".")
