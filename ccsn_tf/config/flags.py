"""What every script shares: the flags, which are the config's fields, and how a script ends.

Each script understands every flag, so that one flag file serves them all.
"""

import signal

# Ctrl-C while a script still loads its modules ends it without their tracebacks; once it is at work, with a sentence.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import importlib
import inspect
import os
import pathlib
import re
import sys

from absl import app, flags, logging
from absl.testing import flagsaver

from ccsn_tf.config.config import RUN_INDEPENDENT, Config, flag_text, is_same, settings
from ccsn_tf.config.settings import PREDICTIONS
from ccsn_tf.errors import UserError
from ccsn_tf.start_up import load_tensorflow as load_tensorflow  # for scripts that need it
from ccsn_tf.start_up import open_standard_streams, quiet_when_cut_off, raise_when_told_to_end

open_standard_streams()
FLAGS = flags.FLAGS
_OTHERS = set()
_DEFINE = {bool: flags.DEFINE_bool, int: flags.DEFINE_integer, float: flags.DEFINE_float, str: flags.DEFINE_string}

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def define_flags() -> None:
    """Defines one flag a config field, with its default and help, unless the script has one of that name."""
    for group, field in settings():
        if field.name in FLAGS:  # the script's own, which means something else there
            _OTHERS.add(field.name)
            continue
        help = f"{group}: {field.metadata['help']}"
        if isinstance(field.metadata["choices"], tuple) and isinstance(field.default, str):
            flags.DEFINE_enum(field.name, field.default, field.metadata["choices"], help)
        elif isinstance(field.default, tuple):
            flags.DEFINE_list(field.name, [str(value) for value in field.default], help)
        else:
            _DEFINE[type(field.default)](field.name, field.default, help)
        # --help lists the flags of the script itself, --helpfull those of every module: these belong to both.
        FLAGS.register_key_flag_for_module(sys.argv[0], FLAGS[field.name])


def config_from_flags() -> Config:
    """The config that the flags spell, defaults included."""
    return Config.from_flat({field.name: _value(field) for _, field in settings()})


def config_with(*arguments: str) -> Config:
    """The config that the flags would spell if these, --name=value, had been given last."""
    with flagsaver.flagsaver():
        _parse([sys.argv[0], *arguments])
        return config_from_flags()


def config_of_run() -> Config:
    """The config of the trained model in --workdir, with the paths and test protocol of the command line.

    Raises:
        UserError: no such run, or a flag contradicts it.
    """
    if not FLAGS.workdir:
        raise UserError("--workdir is not given: name the folder that train.py wrote.")
    config = Config.of_run(FLAGS.workdir)
    changes = {"workdir": FLAGS.workdir}
    for _, field in settings():
        if field.name in _OTHERS or not FLAGS[field.name].present:
            continue
        given, trained = _value(field), config.flat()[field.name]
        if field.name in RUN_INDEPENDENT:
            changes[field.name] = given
        elif not is_same(field.name, given, trained):
            given, trained = flag_text(given), flag_text(trained)
            raise UserError(
                f"--{field.name}={given} contradicts {FLAGS.workdir}, which was trained with {trained}: leave the flag "
                "out, or give another --workdir."
            )
    return config.replace(**changes)


def given_flags(*but: str) -> list[str]:
    """The config's flags that were given, by flag file or not, as arguments for another script."""
    names = [field.name for _, field in settings() if field.name not in but]
    return [FLAGS[name].serialize() for name in names if FLAGS[name].present]


def console() -> None:
    """What ccsn-NAME, which setup.py installs, runs: scripts/NAME.py."""
    name = pathlib.Path(sys.argv[0]).stem.removeprefix("ccsn-").replace("-", "_")
    run(importlib.import_module(f"ccsn_tf_scripts.{name}").main)


def run(main) -> None:
    """Runs `main()`, or `main(words)` with those that are no flags, as a script; see `start_up`.

    A UserError ends it with one sentence and exit status 1, and so do words that `main` does not take.
    """
    define_flags()
    logging.set_verbosity(logging.ERROR)
    script = pathlib.Path(sys.argv[0]).stem

    def checked(arguments):
        try:
            raise_when_told_to_end()
            with quiet_when_cut_off():
                if inspect.signature(main).parameters:
                    main(arguments[1:])
                elif arguments[1:]:
                    raise UserError(
                        f"unexpected argument {arguments[1]!r}: settings are given as --name=value (see --help)."
                    )
                else:
                    main()
        except UserError as error:
            sys.exit(f"{script}: {in_flags(str(error))}")
        except KeyboardInterrupt:
            sys.exit(f"\n{script}: interrupted; the same command goes on where this one stopped.")

    try:
        with quiet_when_cut_off():  # of --help
            app.run(checked, flags_parser=_parse)
    except UserError as error:
        sys.exit(f"{script}: {in_flags(str(error))}")


# Arguments of the library whose flag has another name.
_FLAG_OF = {"weights": "pretrained"}


def in_flags(sentence: str) -> str:
    """A sentence of the library with its `arguments` as --flags, where there are such flags."""

    def flag(match):
        name = _FLAG_OF.get(match[1], match[1])
        return f"--{name}" if name in FLAGS else match[0]

    return re.sub(r"`(\w+)`", flag, sentence)


def print_figures(report: dict) -> None:
    """Prints the accuracies of an evaluation, a line a stream."""
    print(f"{'':10s}{'top-1':>8s}{'top-5':>8s}{'mean class':>12s}  (%)")
    for stream in PREDICTIONS:
        top1, top5, mean_class = (100 * report[stream][name] for name in ("top1", "top5", "mean_class"))
        print(f"{stream:10s}{top1:8.1f}{top5:8.1f}{mean_class:12.1f}")


def _parse(arguments):
    try:
        return FLAGS(arguments)
    except flags.Error as error:
        raise UserError(f"{' '.join(str(error).split())} (--help lists the flags).") from None


def _value(field):
    """The flag's value in the field's type; the items of lists take the type of the default's items, or of text."""
    value = FLAGS[field.name].value
    if not isinstance(field.default, tuple):
        return value
    convert = type(field.default[0]) if field.default else {"step_epochs": int}.get(field.name, str)
    try:
        return tuple(convert(item) for item in value if item)
    except ValueError:
        raise UserError(f"--{field.name} must be numbers separated by commas. Received: {','.join(value)}.") from None
