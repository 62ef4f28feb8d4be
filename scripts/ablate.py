"""Runs a grid of trainings, one after the other, and writes the table of their figures.

    python scripts/ablate.py --flagfile=demo.flags --workdir=A [--seeds=0,1,2] [--grid='name: --flag=value ...' ...]

Without --grid: every kind of connection. Each run trains and evaluates in a folder of its own below --workdir; what is
done is not done again, so the grid can be stopped and started at will. The table is written after each run.
"""

import pathlib
import subprocess
import sys

import command_line
from absl import flags

command_line.load_tensorflow()

from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.ablation import collect, grid, write_table
from ccsn_tf.models.connection import CONNECTIONS

flags.DEFINE_multi_string("grid", [], "ablate: a row of the table, 'name: --flag=value ...'; repeat for each row.")
flags.DEFINE_list("seeds", ["0", "1", "2"], "ablate: seeds of each row.")

_HERE = pathlib.Path(__file__).parent


def main(arguments):
    command_line.no_arguments(arguments)
    root = pathlib.Path(command_line.config_from_flags().train.workdir)
    if root == pathlib.Path():
        raise UserError("--workdir is not given: name a folder for the runs.")
    variants = flags.FLAGS.grid or [f"{kind}: --connection={kind}" for kind in CONNECTIONS]
    if not all(seed.isdigit() for seed in flags.FLAGS.seeds):
        raise UserError(f"--seeds must be whole numbers separated by commas. Received: {','.join(flags.FLAGS.seeds)}.")
    cells = grid(variants, map(int, flags.FLAGS.seeds))
    given = command_line.given_flags("workdir", "seed")
    for number, cell in enumerate(cells, start=1):
        workdir = cell.workdir(root)
        print(f"\nrun {number}/{len(cells)}: {cell.name}, seed {cell.seed}", flush=True)
        if (workdir / "evaluation.json").is_file():
            print("  done before", flush=True)
            continue
        run = [*given, *cell.flags, f"--seed={cell.seed}", f"--workdir={workdir}"]
        for script in ("train", "evaluate"):
            if subprocess.run([sys.executable, str(_HERE / f"{script}.py"), *run], check=False).returncode:
                raise UserError(
                    f"{script} of {cell.name}, seed {cell.seed} did not end well; run the same command again."
                )
        write_table(collect(cells, root), root)
    print("\n" + write_table(collect(cells, root), root))


if __name__ == "__main__":
    command_line.run(main)
