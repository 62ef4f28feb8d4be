"""Grids of runs: rows of settings, on splits or folds of them, with seeds. `ablation_table` has their figures."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
import tomllib

from ccsn_tf.config import Config
from ccsn_tf.config.settings import PREDICTIONS
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.compare import protocol_in_words, read_evaluation
from ccsn_tf.training.workdir import check_workdir

_OF_A_RUN = ("--workdir", "--split", "--folds", "--fold", "--seed")  # flags that the grid sets itself


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a grid: a row of the table (`name`, with the flags that make it), a split, a fold of it, a seed."""

    name: str
    flags: tuple[str, ...]
    split: int
    seed: int
    fold: int = 0

    def workdir(self, root: pathlib.Path) -> pathlib.Path:
        """The run's folder below `root`."""
        fold = f"-fold{self.fold}" if self.fold else ""
        return root / f"{self.name}-split{self.split}{fold}-seed{self.seed}"

    def flags_below(self, root: pathlib.Path) -> list[str]:
        """The flags, `{root}`, `{split}`, `{fold}` and `{seed}` replaced: so runs can start from other rows' runs."""
        values = {f"{{{name}}}": str(getattr(self, name)) for name in ("split", "fold", "seed")}
        values["{root}"] = str(root)
        flags = list(self.flags)
        for name, value in values.items():
            flags = [flag.replace(name, value) for flag in flags]
        return flags


@dataclasses.dataclass(frozen=True)
class Grid:
    """The runs, in the order in which they are to be made, and the table's rows.

    `rows` are {name: parts}: the (row of runs, stream) whose class probabilities are averaged; a row of runs is its own
    fused prediction. `folds`: parts of the training groups, each of which is tested by runs that saw none of it; 0: the
    splits' own test clips are. `against`: the row that the others are compared with; empty: none.
    """

    cells: tuple[Cell, ...]
    rows: dict[str, tuple[tuple[str, str], ...]]
    folds: int = 0
    against: str = ""


def read_grid(path: str | pathlib.Path, config: Config) -> Grid:
    """The runs of a grid, seed by seed and split by split, so that one that is stopped has whole rows of the first.

    Args:
        path: of a TOML file:

            splits = [1, 2]                                   # without: that of `config`
            seeds = [0, 1, 2]                                 # likewise
            folds = 5                                         # cross-validation on the splits' training groups
            against = "late"                                  # each row's difference to this one

            [rows]
            rgb.flags = ["--connection=none"]                 # runs of these settings, of all splits and seeds
            full.flags = ["--init_spatial={root}/rgb-split{split}-seed{seed}"]
            full.runs = [[1, 0], [1, 1], [2, 0]]              # its splits and seeds, in place of those above
            late.mean_of = ["rgb.spatial", "rgb.temporal"]    # fusion of runs by their probabilities, or one stream

    Raises:
        UserError: the file cannot be read, is not of this form, or fuses a row that is not there.
    """

    def refuse(what):
        raise UserError(f"--grid={path}: {what}.")

    try:
        content = tomllib.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"--grid={path} cannot be read ({error}): name a TOML file.") from None
    unknown = sorted(set(content) - {"splits", "seeds", "folds", "against", "rows"})
    if unknown or not isinstance(content.get("rows"), dict):
        others = f", not {', '.join(unknown)}" if unknown else ""
        refuse(f"splits, seeds, folds, against and [rows] are what it may have{others}")
    splits, seeds = content.get("splits", [config.data.split]), content.get("seeds", [config.train.seed])
    if not _numbers(splits) or not _numbers(seeds):
        refuse("splits and seeds must be lists of whole numbers")
    folds, against = content.get("folds", 0), content.get("against", "")
    if type(folds) is not int or folds < 0 or folds == 1:
        refuse("folds must be a whole number of at least 2")
    if against and against not in content["rows"]:
        refuse(f"against = {against!r} names no row")
    cells, rows = [], {}
    for name, row in content["rows"].items():
        match row:
            case {"flags": [*flags], **rest} if all(map(_is_flag, flags)) and set(rest) <= {"runs"} and "/" not in name:
                runs = rest.get("runs", list(itertools.product(splits, seeds)))
                if not isinstance(runs, list) or not all(_numbers(run) and len(run) == 2 for run in runs):
                    refuse(f"{name}.runs must be lists of [split, seed]")
                parts = range(1, folds + 1) if folds else [0]
                cells += [Cell(name, tuple(flags), split, seed, fold) for split, seed in runs for fold in parts]
                rows[name] = ((name, "fused"),)
            case {"mean_of": [_, *_] as parts} if len(row) == 1:
                rows[name] = tuple(str(part).rpartition(".")[::2] for part in parts)
                for part, stream in rows[name]:
                    if stream not in PREDICTIONS or all(cell.name != part for cell in cells):
                        refuse(f"{name} is made of {part}.{stream}, which is no stream of a row of runs before it")
            case _:
                refuse(
                    f'{name} must have flags = ["--flag=value"], but for {", ".join(_OF_A_RUN)}, and may have runs, or '
                    'mean_of = ["row.stream"] alone; a row with runs names folders'
                )
    order = {name: number for number, name in enumerate(rows)}
    cells.sort(key=lambda cell: (cell.seed, cell.split, cell.fold, order[cell.name]))
    return Grid(tuple(cells), rows, folds, against)


def _numbers(values):
    return isinstance(values, (list, tuple)) and all(type(value) is int and value >= 0 for value in values)


def _is_flag(text):
    return isinstance(text, str) and text.startswith("--") and text.partition("=")[0] not in _OF_A_RUN


def check_finished(asked: Config) -> None:
    """Raises UserError where the run in `asked.train.workdir` was trained, or evaluated, by other settings."""
    workdir, wanted = check_workdir(asked), protocol_in_words(asked.eval, asked.data)
    found = read_evaluation(workdir)["protocol"]
    if found != wanted:
        raise UserError(
            f"--test_segments, --test_crops or --average: {workdir} was evaluated by {found}, not {wanted}: "
            "pass the same flags, or another --workdir."
        )
