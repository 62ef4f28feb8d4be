"""The whole state of a training run in one file, so that it is there whole or not at all."""

from __future__ import annotations

import json
import pathlib
import zipfile
from collections.abc import Sequence

import keras
import numpy as np

from ccsn_tf.errors import UserError
from ccsn_tf.files import whole_file

_META = "__meta__"


def save_state(path: pathlib.Path, variables: Sequence[keras.Variable], meta: dict) -> None:
    """Writes variables, in an order that is the run's own, and `meta` (JSON-safe: epoch, history, best score)."""
    arrays = {_entry(number, variable): variable.numpy() for number, variable in enumerate(variables)}
    with whole_file(path) as beside, beside.open("wb") as file:
        np.savez(file, **arrays, **{_META: np.array(json.dumps(meta))})


def load_state(path: pathlib.Path, variables: Sequence[keras.Variable]) -> dict:
    """Reads what `save_state` wrote into the variables, and returns `meta`.

    Raises:
        UserError: the file is damaged, or of another model.
    """
    try:
        with path.open("rb") as file, np.load(file) as stored:
            meta = json.loads(str(stored[_META]))
            arrays = [stored[name] for name in sorted(set(stored.files) - {_META})]
    except (OSError, EOFError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}): delete it to start the training again.") from None
    if [array.shape for array in arrays] != [tuple(variable.shape) for variable in variables]:
        raise UserError(f"{path} is of another model: choose another --workdir.")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
    return meta


def _entry(number, variable):
    # Numbered in the order of creation: Keras numbers paths anew in every process.
    return f"{number:04d} {variable.path}".replace("/", ".")
