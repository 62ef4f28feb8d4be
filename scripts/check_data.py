"""Checks videos, records or both, and says whether training may start: exit status 0, or 1 with the reasons first.

    python scripts/check_data.py --flagfile=ucf101.flags --video_dir=UCF-101 --split_dir=ucfTrainTestlist
    python scripts/check_data.py --flagfile=ucf101.flags --record_dir=R

Videos are decoded from end to end, on every core.
"""

import sys

from ccsn_tf.config import flags as command_line
from ccsn_tf.data.checks import as_text, check, may_train
from ccsn_tf.progress import Progress


def main():
    findings = check(command_line.config_from_flags(), lambda what: Progress(f"check {what}", "clips"))
    sys.stdout.write(as_text(findings))
    sys.exit(0 if may_train(findings) else 1)


if __name__ == "__main__":
    command_line.run(main)
