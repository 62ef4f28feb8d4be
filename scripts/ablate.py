"""Runs a grid of trainings, one after the other, and writes the table of their figures.

    python scripts/ablate.py --flagfile=demo.flags --workdir=A [--grid=rows.toml]

The file says which rows the table has, as scripts/recipes/connections.toml does, which is taken without --grid:

    seeds = [0, 1, 2]                          # without: --seed
    splits = [1]                               # without: --split
    folds = 5                                  # cross-validation: each fifth of the training groups is tested in turn
    against = "late"                           # the table has each row's difference to this one, with its error

    [rows]
    none.flags = ["--connection=none"]         # runs of these settings, of all splits and seeds
    sum.flags = ["--connection=sum", "--init_spatial={root}/none-split{split}-seed{seed}"]
    sum.runs = [[1, 0], [1, 1], [2, 0]]        # each split and seed, in place of those above
    late.mean_of = ["none.spatial", "none.temporal"]

mean_of is late fusion of runs by their probabilities, or one stream of them. Each run trains and evaluates in a folder
of its own below --workdir, which flags may name as {root}, and its {split}, {fold} and {seed}. What is done is not done
again, so the grid can be stopped and started at will. The table is written after each run.
"""

import pathlib
import subprocess
import sys

from absl import flags

from ccsn_tf.config import flags as command_line
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.ablate import check_finished, collect, read_grid, write_table

_HERE = pathlib.Path(__file__).parent

flags.DEFINE_string("grid", str(_HERE / "recipes" / "connections.toml"), "ablate: TOML file of the table's rows.")


def main():
    config = command_line.config_from_flags()
    if not config.train.workdir:
        raise UserError("--workdir is not given: name a folder for the runs.")
    root, grid = pathlib.Path(config.train.workdir), read_grid(flags.FLAGS.grid, config)
    given = command_line.given_flags("workdir", "seed", "split", "fold", "folds")
    runs = {}
    for cell in grid.cells:
        own = [f"--split={cell.split}", f"--seed={cell.seed}", f"--workdir={cell.workdir(root)}"]
        own += [f"--folds={grid.folds}", f"--fold={cell.fold}"] if grid.folds else []
        runs[cell] = [*given, *cell.flags_below(root), *own]
    # A mistake in the last row is refused before the first is trained.
    asked = {cell: command_line.config_with(*run) for cell, run in runs.items()}
    for number, (cell, run) in enumerate(runs.items(), start=1):
        fold = f", fold {cell.fold}" if cell.fold else ""
        name = f"{cell.name}, split {cell.split}{fold}, seed {cell.seed}"
        print(f"\nrun {number}/{len(runs)}: {name}", flush=True)
        if (cell.workdir(root) / "evaluation.json").is_file():
            check_finished(asked[cell])
            print("  done before", flush=True)
            continue
        for script in ("train", "evaluate"):
            if subprocess.run([sys.executable, str(_HERE / f"{script}.py"), *run], check=False).returncode:
                raise UserError(f"{script} of {name} did not end well; run the same command again.")
        write_table(collect(grid, root), root)
    print("\n" + write_table(collect(grid, root), root))


if __name__ == "__main__":
    command_line.run(main)
