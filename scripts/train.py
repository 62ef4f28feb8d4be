"""Trains both streams jointly on prepared records.

    python scripts/train.py --flagfile=ucf101.flags --record_dir=R --workdir=W

Killed, it goes on with the same command. Several machines: set TF_CONFIG on each and pass --strategy=multiworker.
"""

import functools

import command_line

command_line.load_tensorflow()

from ccsn_tf.training.train import train


def main(arguments):
    command_line.no_arguments(arguments)
    train(command_line.config_from_flags(), say=functools.partial(print, flush=True))


if __name__ == "__main__":
    command_line.run(main)
