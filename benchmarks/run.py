"""Measures one part of the package; prints a Markdown table and, on request, writes the figures as JSON.

    python benchmarks/run.py NAME [--output=report.json] [flags of that benchmark]

NAME is flow, inference, input, model, prepare, timeline, training or watch (docs/BENCHMARKS.md).
"""

import datetime
import importlib
import json
import pathlib
import platform
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

from absl import flags

from ccsn_tf.config import flags as command_line

command_line.load_tensorflow()

from ccsn_tf.errors import UserError
from ccsn_tf.files import write_text

BENCHMARKS = ("flow", "inference", "input", "model", "prepare", "timeline", "training", "watch")

flags.DEFINE_string("output", "", "benchmark: JSON file for the figures; empty: the table is only printed.")


def main(arguments):
    if len(arguments) != 1 or arguments[0] not in BENCHMARKS:
        raise UserError(f"name one benchmark, of {', '.join(BENCHMARKS)}. Received: {' '.join(arguments) or 'none'}.")
    benchmark = importlib.import_module(f"benchmarks.{arguments[0]}")
    report = {
        "command": f"python benchmarks/run.py {' '.join(sys.argv[1:])}",
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        **benchmark.run(command_line.config_from_flags(), flags.FLAGS),
    }
    if flags.FLAGS.output:
        write_text(flags.FLAGS.output, json.dumps(report, indent=2) + "\n")
    print(benchmark.table(report))


if __name__ == "__main__":
    for name in BENCHMARKS:
        importlib.import_module(f"benchmarks.{name}").define_flags()
    command_line.run(main)
