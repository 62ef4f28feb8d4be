"""Runs a grid of trainings, one after the other, and writes the table of their figures.

    python scripts/ablate.py --flagfile=demo.flags --workdir=A [--seeds=0,1,2] [--splits=1,2] [--grid=ROW ...]

    ROW    name: --flag=value ...                 runs of these settings, of all seeds and splits
           name [1:0,1,2 2:0]: --flag=value ...   of these splits and seeds alone
           name = row.spatial + row.temporal      late fusion of runs by their probabilities; or one stream of them

Without --grid: every kind of connection. Each run trains and evaluates in a folder of its own below --workdir. Flags
may name --workdir as {root}, and {split} and {seed}: --init_spatial={root}/rgb-split{split}-seed{seed}. What is done is
not done again, so the grid can be stopped and started at will. The table is written after each run.
"""

import pathlib
import subprocess
import sys

from absl import flags

from ccsn_tf.config import flags as command_line

command_line.load_tensorflow()

from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.ablate import check_finished, collect, grid, write_table
from ccsn_tf.models.connections import CONNECTIONS

flags.DEFINE_multi_string("grid", [], "ablate: a row of the table, see above; repeat for each row.")
flags.DEFINE_list("seeds", ["0", "1", "2"], "ablate: seeds of each row that does not say.")
flags.DEFINE_list("splits", [], "ablate: splits of each row that does not say; default: --split.")

_HERE = pathlib.Path(__file__).parent


def main(arguments):
    command_line.no_arguments(arguments)
    config = command_line.config_from_flags()
    root = pathlib.Path(config.train.workdir)
    if root == pathlib.Path():
        raise UserError("--workdir is not given: name a folder for the runs.")
    variants = flags.FLAGS.grid or [f"{kind}: --connection={kind}" for kind in CONNECTIONS]
    table = grid(variants, _numbers("splits") or [config.data.split], _numbers("seeds"))
    given = command_line.given_flags("workdir", "seed", "split")
    for number, cell in enumerate(table.cells, start=1):
        workdir, name = cell.workdir(root), f"{cell.name}, split {cell.split}, seed {cell.seed}"
        print(f"\nrun {number}/{len(table.cells)}: {name}", flush=True)
        own = [f"--split={cell.split}", f"--seed={cell.seed}", f"--workdir={workdir}"]
        run = [*given, *cell.flags_below(root), *own]
        if (workdir / "evaluation.json").is_file():
            check_finished(command_line.config_with(*run))
            print("  done before", flush=True)
            continue
        for script in ("train", "evaluate"):
            if subprocess.run([sys.executable, str(_HERE / f"{script}.py"), *run], check=False).returncode:
                raise UserError(f"{script} of {name} did not end well; run the same command again.")
        write_table(collect(table, root), root)
    print("\n" + write_table(collect(table, root), root))


def _numbers(flag):
    numbers = getattr(flags.FLAGS, flag)
    if not all(number.isdigit() for number in numbers):
        raise UserError(f"--{flag} must be whole numbers separated by commas. Received: {','.join(numbers)}.")
    return [int(number) for number in numbers]


if __name__ == "__main__":
    command_line.run(main)
