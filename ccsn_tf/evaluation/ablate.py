"""Grids of runs: rows of settings, on splits, with seeds; which runs are done, and the table of their figures."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import pathlib
import statistics
import tomllib

from ccsn_tf.config import Config
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.compare import (
    PREDICTIONS,
    protocol_in_words,
    read_evaluation,
    read_scores,
    refuse_different_clips,
)
from ccsn_tf.evaluation.metrics import softmax, top_k_accuracy
from ccsn_tf.files import write_text
from ccsn_tf.training.workdir import check_workdir

_OF_A_RUN = ("--workdir", "--split", "--seed")  # flags that the grid sets itself


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a grid: a row of the table (`name`, with the flags that make it), a split and a seed."""

    name: str
    flags: tuple[str, ...]
    split: int
    seed: int

    def workdir(self, root: pathlib.Path) -> pathlib.Path:
        """The run's folder below `root`."""
        return root / f"{self.name}-split{self.split}-seed{self.seed}"

    def flags_below(self, root: pathlib.Path) -> list[str]:
        """The flags, `{root}`, `{split}` and `{seed}` in them replaced: so runs can start from other rows' runs."""
        values = {"{root}": str(root), "{split}": str(self.split), "{seed}": str(self.seed)}
        flags = list(self.flags)
        for name, value in values.items():
            flags = [flag.replace(name, value) for flag in flags]
        return flags


@dataclasses.dataclass(frozen=True)
class Grid:
    """The runs, in the order in which they are to be made, and the table's rows.

    `rows` are {name: parts}: the (row of runs, stream) whose class probabilities are averaged; a row of runs is its own
    fused prediction.
    """

    cells: tuple[Cell, ...]
    rows: dict[str, tuple[tuple[str, str], ...]]


def read_grid(path: str | pathlib.Path, config: Config) -> Grid:
    """The runs of a grid, seed by seed and split by split, so that one that is stopped has whole rows of the first.

    Args:
        path: of a TOML file:

            splits = [1, 2]                                   # without: that of `config`
            seeds = [0, 1, 2]                                 # likewise

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
    unknown = sorted(set(content) - {"splits", "seeds", "rows"})
    if unknown or not isinstance(content.get("rows"), dict):
        refuse(f"splits, seeds and [rows] are what it may have{', not ' if unknown else ''}{', '.join(unknown)}")
    splits, seeds = content.get("splits", [config.data.split]), content.get("seeds", [config.train.seed])
    if not _numbers(splits) or not _numbers(seeds):
        refuse("splits and seeds must be lists of whole numbers")
    cells, rows = [], {}
    for name, row in content["rows"].items():
        match row:
            case {"flags": [*flags], **rest} if all(map(_is_flag, flags)) and set(rest) <= {"runs"} and "/" not in name:
                runs = rest.get("runs", list(itertools.product(splits, seeds)))
                if not isinstance(runs, list) or not all(_numbers(run) and len(run) == 2 for run in runs):
                    refuse(f"{name}.runs must be lists of [split, seed]")
                cells += [Cell(name, tuple(flags), split, seed) for split, seed in runs]
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
    return Grid(tuple(sorted(cells, key=lambda cell: (cell.seed, cell.split, order[cell.name]))), rows)


def _numbers(values):
    return isinstance(values, (list, tuple)) and all(type(value) is int and value >= 0 for value in values)


def _is_flag(text):
    return isinstance(text, str) and text.startswith("--") and text.partition("=")[0] not in _OF_A_RUN


def check_finished(asked: Config) -> None:
    """Raises UserError where the run in `asked.train.workdir` was trained, or evaluated, by other settings."""
    workdir, wanted = check_workdir(asked), protocol_in_words(asked.eval)
    found = read_evaluation(workdir)["protocol"]
    if found != wanted:
        raise UserError(
            f"--test_segments, --test_crops, --average or --test_on: {workdir} was evaluated by {found}, not {wanted}: "
            "pass the same flags, or another --workdir."
        )


def collect(grid: Grid, root: pathlib.Path) -> dict:
    """The table of the runs that are done.

    Returns:
        {"dataset", "protocol", "num_clips": {split: number}, "rows"}; of a row {"splits": {split: spread}, "mean",
        "deviation"} of its top-1 fractions, the mean and sample deviation being over the splits' means; a spread is
        {"mean", "deviation", "count", "values"} over seeds (deviation None for one run). A row of runs also has
        "spatial" and "temporal", "recall_at_1" and "variation" across streams, and "seconds" of training, each the mean
        over its runs.

    Raises:
        UserError: the runs were not measured alike, or those that are fused are of different clips.
    """
    done = {cell: cell.workdir(root) for cell in grid.cells if (cell.workdir(root) / "evaluation.json").is_file()}
    reports = {cell: read_evaluation(workdir) for cell, workdir in done.items()}
    for key in ("dataset", "protocol"):
        if len({report[key] for report in reports.values()}) > 1:
            raise UserError(f"The runs in {root} differ in {key} and make no table: remove those of another grid.")
    rows = {}
    for name, parts in grid.rows.items():
        runs = [cell for cell in done if cell.name == name]
        rows[name] = _accuracies(parts, done) | _means([reports[cell] for cell in runs])
        rows[name]["seconds"] = _mean([_seconds(done[cell]) for cell in runs])
    first = next(iter(reports.values()), {"dataset": None, "protocol": None})
    clips = {cell.split: report["num_clips"] for cell, report in reports.items()}
    return {"dataset": first["dataset"], "protocol": first["protocol"], "num_clips": clips, "rows": rows}


def _accuracies(parts, done):
    """Top-1 of the mean of the parts' probabilities, for each split and seed for which all parts are there."""
    found = {}
    for place in sorted({(cell.split, cell.seed) for cell in done}):
        runs = {cell.name: workdir for cell, workdir in done.items() if (cell.split, cell.seed) == place}
        if all(name in runs for name, _ in parts):
            scores = {name: read_scores(runs[name]) for name, _ in parts}
            refuse_different_clips(scores)
            chances = sum(softmax(scores[name][stream]) for name, stream in parts)
            labels = scores[parts[0][0]]["labels"]
            found.setdefault(place[0], []).append(top_k_accuracy(chances, labels, 1))
    splits = {split: _spread(values) for split, values in found.items()}
    over = _spread([spread["mean"] for spread in splits.values()])
    return {"splits": splits, "mean": over["mean"], "deviation": over["deviation"]}


def _spread(values):
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": _mean(values), "deviation": deviation, "count": len(values), "values": values}


def _means(reports):
    embeddings = [report["embeddings"] for report in reports]
    recalls = [way["recall_at_1"] for each in embeddings for way in each["retrieval"].values()]
    return {
        **{stream: _mean([report[stream]["top1"] for report in reports]) for stream in ("spatial", "temporal")},
        "recall_at_1": _mean(recalls),
        "variation": _mean([each["variation"]["cross"] for each in embeddings]),
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
    head += ["spatial", "temporal", "recall@1 across", "variation across", "training, s"]
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
        figures += [_percent(row[stream]) for stream in ("spatial", "temporal", "recall_at_1")]
        figures.append("" if row["variation"] is None else f"{row['variation']:.2f}")
        figures.append("" if row["seconds"] is None else f"{row['seconds']:.0f}")
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
