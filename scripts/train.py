"""Trains both streams jointly on prepared records.

    python scripts/train.py --flagfile=ucf101.flags --record_dir=R --workdir=W

Killed, it goes on with the same command. Several machines: set TF_CONFIG on each and pass --strategy=multiworker.
"""

import functools
import sys

from ccsn_tf.config import flags as command_line

command_line.load_tensorflow()

from ccsn_tf.evaluation.figures import save_history
from ccsn_tf.training.train import train


def main():
    say = functools.partial(print, flush=True)
    verbose = 1 if sys.stdout.isatty() else 2  # a bar, or a line per epoch
    train(command_line.config_from_flags(), say, draw=save_history, verbose=verbose)


if __name__ == "__main__":
    command_line.run(main)
