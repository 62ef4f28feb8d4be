"""A work directory belongs to one run: one configuration, one label order."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence

from ccsn_tf.config import Config, flag_text
from ccsn_tf.errors import UserError
from ccsn_tf.files import write_text


def check_workdir(config: Config) -> pathlib.Path:
    """The work directory, if it is new or of this run; nothing is written.

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
            asked, was = flag_text(config.flat()[name]), flag_text(begun.flat()[name])
            raise UserError(
                f"--{name}={asked}, but {workdir} belongs to a run with {was}: pass that, or another --workdir."
            )
    return workdir


def lock_workdir(workdir: pathlib.Path, config: Config, classes: Sequence[str]) -> None:
    """Writes config.json and classes.json: to be called once all else is known to be in order.

    Raises:
        UserError: the run was begun with another label order, or the folder cannot be written to.
    """
    path = workdir / "classes.json"
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != list(classes):
        raise UserError(f"The records' classes are not those in {path}: choose another --workdir.")
    write_text(path, json.dumps(list(classes), indent=1) + "\n")
    write_text(workdir / "config.json", config.to_json())
