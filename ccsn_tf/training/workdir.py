"""A work directory belongs to one run: one configuration, one label order."""

import contextlib
import json
import pathlib
from collections.abc import Iterator, Sequence

from ccsn_tf.config import Config, flag_text
from ccsn_tf.errors import UserError
from ccsn_tf.files import only_process, write_text


def check_workdir(config: Config, more_epochs: bool = False) -> pathlib.Path:
    """The work directory, if it is new or of this run; nothing is written.

    Args:
        config: of the run.
        more_epochs: whether it may have more epochs than the run that was begun there, where that one's epochs are the
            first of them.

    Raises:
        UserError: no work directory given, or one of another configuration.
    """
    if not config.train.workdir:
        raise UserError("--workdir is not given: name the folder for checkpoints and results.")
    workdir = pathlib.Path(config.train.workdir)
    if (workdir / "config.json").is_file():
        begun = Config.of_run(workdir)
        for name in config.differences(begun):
            asked, was = flag_text(config.flat()[name]), flag_text(begun.flat()[name])
            if name == "epochs" and more_epochs and config.train.epochs > begun.train.epochs:
                if config.train.schedule != "cosine":
                    continue  # the epochs before are those of a run that was to have more
                raise UserError(
                    f"--epochs={asked}: the learning rate of {workdir} falls to 0 by epoch {was} (--schedule=cosine), "
                    f"so that it is no part of a run of {asked}: train into another --workdir, from the start or from "
                    f"this run's streams, --init_spatial={workdir} --init_temporal={workdir}."
                )
            raise UserError(
                f"--{name}={asked}, but {workdir} belongs to a run with {was}: pass that, or another --workdir."
            )
    return workdir


@contextlib.contextmanager
def lock_workdir(workdir: pathlib.Path, config: Config, classes: Sequence[str], chief: bool = True) -> Iterator[None]:
    """Writes config.json and classes.json and keeps other processes out of the folder until the block ends.

    To be called once all else is known to be in order.

    Args:
        workdir: of `check_workdir`.
        config: of the run.
        classes: in label order.
        chief: false for the other workers of the run, which share the chief's folder.

    Raises:
        UserError: another process is there, the run was begun with another label order, or the folder cannot be written
            to.
    """
    with only_process(workdir) if chief else contextlib.nullcontext():
        path = workdir / "classes.json"
        if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != list(classes):
            raise UserError(f"The records' classes are not those in {path}: choose another --workdir.")
        write_text(path, json.dumps(list(classes), indent=1) + "\n")
        config.write(workdir)
        yield
