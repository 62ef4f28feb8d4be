"""Grids of runs: rows of settings, on splits or folds of them, with seeds; and the table of their figures."""

import csv
import dataclasses
import itertools
import json
import pathlib
import statistics
import tomllib

import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.config.settings import PREDICTIONS, STREAMS
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.compare import protocol_in_words, read_evaluation, read_scores, refuse_different_clips
from ccsn_tf.evaluation.metrics import predictions, softmax
from ccsn_tf.evaluation.rejection import WAYS
from ccsn_tf.files import write_text
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
        path: of a TOML file, as scripts/ablate.py shows it.
        config: has the split and the seed where the file has none.

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


def collect(grid: Grid, root: pathlib.Path) -> dict:
    """The table of the runs that are done.

    Returns:
        {"dataset", "protocol", "num_clips": {split: number}, "rows"}; of a row {"splits": {split: spread}, "mean"} of
        its top-1 fractions, the mean being over the splits' means; a spread is {"mean", "deviation", "count", "values"}
        over seeds, with the sample deviation (None for one run); "against": (difference to the row `grid.against`, its
        standard error) or None, see `paired_difference`. A row of runs also has
        "spatial" and "temporal", "recall_at_1" and "variation" across streams, and "seconds" of training, each the mean
        over its runs; and "auroc" {way: mean} where they were evaluated with `unknown_classes`.

    Raises:
        UserError: the runs were not measured alike, or those that are fused are of different clips.
    """
    done = {cell: cell.workdir(root) for cell in grid.cells if (cell.workdir(root) / "evaluation.json").is_file()}
    reports = {cell: read_evaluation(workdir) for cell, workdir in done.items()}
    for key in ("dataset", "protocol"):
        if len({report[key] for report in reports.values()}) > 1:
            raise UserError(f"The runs in {root} differ in {key} and make no table: remove those of another grid.")
    rows, answers = {}, {name: _answers(parts, done, grid.folds) for name, parts in grid.rows.items()}
    for name, of_row in answers.items():
        runs = [cell for cell in done if cell.name == name]
        rows[name] = _accuracies(of_row) | _means([reports[cell] for cell in runs])
        rows[name]["seconds"] = _mean([_seconds(done[cell]) for cell in runs])
        compared = grid.against and name != grid.against
        rows[name]["against"] = paired_difference(of_row, answers[grid.against]) if compared else None
    first = next(iter(reports.values()), {"dataset": None, "protocol": None})
    clips = {(cell.split, cell.fold): report["num_clips"] for cell, report in reports.items()}
    clips = {split: sum(count for place, count in clips.items() if place[0] == split) for split, _ in sorted(clips)}
    table = {"dataset": first["dataset"], "protocol": first["protocol"], "num_clips": clips, "rows": rows}
    return {**table, "against": grid.against}


def _answers(parts, done, folds):
    """{(split, seed): (groups, right)} of the mean of the parts' probabilities, where all its runs are there."""
    answers = {}
    for place in sorted({(cell.split, cell.seed) for cell in done}):
        runs = {(cell.name, cell.fold): path for cell, path in done.items() if (cell.split, cell.seed) == place}
        numbers = range(1, folds + 1) if folds else [0]
        if all((name, fold) in runs for name, _ in parts for fold in numbers):
            found = [_right({name: read_scores(runs[name, fold]) for name, _ in parts}, parts) for fold in numbers]
            answers[place] = tuple(np.concatenate(values) for values in zip(*found, strict=True))
    return answers


def _right(scores, parts):
    """Of each clip its group, and whether it is named right."""
    refuse_different_clips(scores)
    chances = sum(softmax(scores[name][stream]) for name, stream in parts)
    first = scores[parts[0][0]]
    return first["groups"], predictions(chances, first["labels"]) == first["labels"]


def _accuracies(answers):
    found = {}
    for (split, _), (_, right) in answers.items():
        found.setdefault(split, []).append(float(right.mean()))
    splits = {split: _spread(values) for split, values in found.items()}
    return {"splits": splits, "mean": _mean([spread["mean"] for spread in splits.values()])}


def paired_difference(row: dict, other: dict) -> tuple[float, float] | None:
    """The difference of two rows' top-1 on the same clips, splits and seeds, and its standard error by group.

    Clips of one group (a film, a person) are right and wrong together, and so are runs of several seeds on them: the
    error is that of a mean over clusters, sqrt(G / (G - 1) sum_g (sum of g's differences - n_g mean)^2) / N.

    Args:
        row, other: {(split, seed): (groups (N,), right (N,))}.

    Returns:
        Difference and error as fractions; None without a split and seed that both have, or with a single group.
    """
    groups, differences = [], []
    for place in row.keys() & other.keys():
        groups.append(row[place][0])
        differences.append(row[place][1].astype(float) - other[place][1])
    if not groups:
        return None
    groups, differences = np.concatenate(groups), np.concatenate(differences)
    _, cluster = np.unique(groups, return_inverse=True)
    sums = np.bincount(cluster, differences - differences.mean())
    if len(sums) < 2:
        return None
    error = np.sqrt(len(sums) / (len(sums) - 1) * np.sum(sums**2)) / len(differences)
    return float(differences.mean()), float(error)


def _spread(values):
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": _mean(values), "deviation": deviation, "count": len(values), "values": values}


def _means(reports):
    embeddings = [report["embeddings"] for report in reports]
    recalls = [way["recall_at_1"] for each in embeddings for way in each["retrieval"].values()]
    return {
        **{stream: _mean([report[stream]["top1"] for report in reports]) for stream in STREAMS},
        "recall_at_1": _mean(recalls),
        "variation": _mean([each["variation"]["cross"] for each in embeddings]),
        "auroc": {
            way: _mean([report["rejection"][way]["auroc"] for report in reports])
            for way in WAYS
            if reports and all(report.get("num_unknown") and way in report["rejection"] for report in reports)
        },
    }


def _mean(values):
    return statistics.fmean(values) if values and None not in values else None


def _seconds(workdir):
    with (workdir / "history.csv").open(encoding="utf-8", newline="") as file:
        return sum(float(row["seconds"]) for row in csv.DictReader(file))


def write_table(table: dict, root: pathlib.Path) -> str:
    """Writes ablation.json and ablation.md into `root`; returns the latter's text."""
    splits = sorted(table["num_clips"])
    clips = ", ".join(f"split {split}: {table['num_clips'][split]} test clips" for split in splits)
    head = ["row", *(f"split {split}" for split in splits), *(["mean of splits"] if len(splits) > 1 else [])]
    if table["against"]:
        head.append(f"fused, against {table['against']} (s.e.)")
    head += [*STREAMS, "recall@1 across", "variation across", "training, s"]
    ways = WAYS if any(row["auroc"] for row in table["rows"].values()) else ()
    head += [f"AUROC, {way}" for way in ways]
    lines = [
        f"{table['dataset']}; {clips}; {table['protocol']}. Top-1 in %: mean +- sample standard deviation (runs).",
        "",
        f"| {' | '.join(head)} |",
        "|---" * len(head) + "|",
    ]
    for name, row in table["rows"].items():
        figures = [_in_words(row["splits"].get(split)) for split in splits]
        if len(splits) > 1:
            figures.append(_percent(row["mean"]) if len(row["splits"]) == len(splits) else "")
        if table["against"]:
            figures.append("{:+.1f} ({:.1f})".format(*(100 * n for n in row["against"])) if row["against"] else "")
        figures += [_percent(row[name]) for name in (*STREAMS, "recall_at_1")]
        figures.append("" if row["variation"] is None else f"{row['variation']:.2f}")
        figures.append("" if row["seconds"] is None else f"{row['seconds']:.0f}")
        figures += [_percent(row["auroc"].get(way)) for way in ways]
        lines.append(f"| {name} | {' | '.join(figures)} |")
    text = "\n".join(lines) + "\n"
    write_text(root / "ablation.json", json.dumps(table, indent=2) + "\n")
    write_text(root / "ablation.md", text)
    return text


def _in_words(spread):
    if not spread:
        return "not measured"
    deviation = "" if spread["deviation"] is None else f" +- {100 * spread['deviation']:.1f}"
    return f"{100 * spread['mean']:.1f}{deviation} ({spread['count']})"


def _percent(fraction):
    return "" if fraction is None else f"{100 * fraction:.1f}"
