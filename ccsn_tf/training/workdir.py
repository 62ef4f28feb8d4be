"""A work directory belongs to one run: one configuration, one label order."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence

from ccsn_tf.config import Config
from ccsn_tf.errors import UserError
from ccsn_tf.files import write_text


def claim_workdir(config: Config) -> pathlib.Path:
    """Writes config.json, or checks that the one there is of the same run.

    Raises:
        UserError: no work directory given, or one of another configuration.
    """
    if not config.train.workdir:
        raise UserError("--workdir is not given: name the folder for checkpoints and results.")
    workdir = pathlib.Path(config.train.workdir)
    path = workdir / "config.json"
    if path.is_file():
        begun = Config.from_json(path)
        for name in config.differences(begun):
            raise UserError(
                f"--{name}={config.flat()[name]}, but {workdir} belongs to a run with {begun.flat()[name]}: pass that, "
                "or another --workdir."
            )
    write_text(path, config.to_json())
    return workdir


def claim_classes(path: pathlib.Path, classes: Sequence[str]) -> None:
    """Writes the label order down, or checks that the records still have the one that the run began with.

    Raises:
        UserError: they do not.
    """
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != list(classes):
        raise UserError(f"The records' classes are not those in {path}: choose another --workdir.")
    write_text(path, json.dumps(list(classes), indent=1) + "\n")
