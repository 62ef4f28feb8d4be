"""Checks videos, records or both, and says whether training may start: exit status 0, or 1 with the reasons first.

    python scripts/check_data.py --flagfile=ucf101.flags --video_dir=UCF-101 --split_dir=ucfTrainTestlist
    python scripts/check_data.py --flagfile=ucf101.flags --record_dir=R

Videos are decoded from end to end, on every core.
"""

import pathlib
import sys

from absl import flags

from ccsn_tf.config import flags as command_line
from ccsn_tf.data.checks import as_json, as_text, check, may_train
from ccsn_tf.files import write_text
from ccsn_tf.progress import Progress

_SHOWN = 5  # findings of a kind

flags.DEFINE_bool("thorough", False, "check_data: decode every JPEG of the records.")
flags.DEFINE_bool("json", False, "check_data: print all findings as JSON.")
flags.DEFINE_string("output", "", "check_data: file for all findings, JSON if it ends in .json.")


def main(arguments):
    command_line.no_arguments(arguments)
    chosen = flags.FLAGS
    config = command_line.config_from_flags()
    findings = check(config, lambda what: Progress(f"check {what}", "clips"), thorough=chosen.thorough)
    if chosen.output:
        is_json = pathlib.Path(chosen.output).suffix == ".json"
        write_text(chosen.output, as_json(findings) if is_json else as_text(findings))
    sys.stdout.write(as_json(findings) if chosen.json else as_text(findings, most=_SHOWN))
    sys.exit(0 if may_train(findings) else 1)


def console():
    """The console script ccsn-check-data."""
    command_line.run(main)


if __name__ == "__main__":
    console()
