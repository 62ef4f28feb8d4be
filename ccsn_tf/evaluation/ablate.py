"""Grids of runs: rows of settings, on splits, with seeds; which runs are done, and the table of their figures."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import statistics
from collections.abc import Iterable, Sequence

import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.metrics import softmax, top_k_accuracy
from ccsn_tf.evaluation.protocol import protocol_in_words
from ccsn_tf.files import write_text
from ccsn_tf.training.workdir import check_workdir

STREAMS = ("spatial", "temporal", "fused")
_ROW = re.compile(r"\s*([^\[\]:=/]+?)\s*(?:\[([^\]]*)\])?\s*:(.*)", re.DOTALL)
_DERIVED = re.compile(r"\s*([^\[\]:=/]+?)\s*=(.*)", re.DOTALL)
_PART = re.compile(r"\s*(.+?)\.(spatial|temporal|fused)\s*")


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
        return [re.sub(r"\{root\}|\{split\}|\{seed\}", lambda found: values[found[0]], flag) for flag in self.flags]


@dataclasses.dataclass(frozen=True)
class Grid:
    """The runs, in the order in which they are to be made, and the table's rows.

    `rows` are {name: parts}: the (row of runs, stream) whose class probabilities are averaged; a row of runs is its own
    fused prediction.
    """

    cells: tuple[Cell, ...]
    rows: dict[str, tuple[tuple[str, str], ...]]


def grid(variants: Iterable[str], splits: Sequence[int], seeds: Sequence[int]) -> Grid:
    """The runs of a grid, seed by seed and split by split, so that one that is stopped has whole rows of the first.

    Args:
        variants: rows of runs, "name: --flag=value --flag=value" or, with splits and seeds of their own, "name
            [1:0,1,2 2:0]: --flag=value" (split 1 with seeds 0 to 2, split 2 with seed 0); or late fusions of them,
            "name = row.spatial + other.temporal", or single streams, "name = row.spatial".
        splits, seeds: of rows that do not say.

    Raises:
        UserError: a variant that is not of this form, a name that comes twice, or a fusion of a row that is not there.
    """
    cells, rows = [], {}
    for variant in variants:
        run, derived = _ROW.fullmatch(variant), _DERIVED.fullmatch(variant)
        if run and all(flag.startswith("--") for flag in run[3].split()):
            name, parts = run[1], ((run[1], "fused"),)
            places = _places(run[2]) if run[2] is not None else [(split, seed) for split in splits for seed in seeds]
            cells += [Cell(name, tuple(run[3].split()), split, seed) for split, seed in places]
        elif derived and all(map(_PART.fullmatch, derived[2].split("+"))):
            name, parts = derived[1], tuple(_PART.fullmatch(part).groups() for part in derived[2].split("+"))
            unknown = sorted({row for row, _ in parts} - {cell.name for cell in cells})
            if unknown:
                raise UserError(f"--grid: {name} is made of {', '.join(unknown)}, which is no row of runs before it.")
        else:
            raise UserError(
                "--grid: expected 'name: --flag=value ...', 'name [split:seed,seed]: --flag=value ...' or 'name = "
                f"row.spatial + row.temporal'. Received: {variant!r}."
            )
        if name in rows:
            raise UserError(f"--grid names {name} twice: rename one.")
        rows[name] = parts
    order = {name: number for number, name in enumerate(rows)}
    return Grid(tuple(sorted(cells, key=lambda cell: (cell.seed, cell.split, order[cell.name]))), rows)


def _places(text):
    places = []
    for part in text.split():
        if not re.fullmatch(r"\d+:\d+(,\d+)*", part):
            raise UserError(f"--grid: expected splits and seeds as in [1:0,1,2 2:0]. Received: [{text}].")
        split, seeds = part.split(":")
        places += [(int(split), int(seed)) for seed in seeds.split(",")]
    return places


def collect(grid: Grid, root: pathlib.Path) -> dict:
    """The table of the runs that are done.

    Returns:
        {"dataset", "protocol", "num_clips": {split: number}, "rows"}; of a row {"splits": {split: spread}, "mean",
        "deviation"} of its top-1 fractions, the mean and sample deviation being over the splits' means; a spread is
        {"mean", "deviation", "count", "values"} over seeds (deviation None for one run). A row of runs also has
        "spatial" and "temporal", "recall_at_1" and "variation" across streams, and "seconds" of training, each the mean
        over its runs.

    Raises:
        UserError: the runs were not measured alike.
    """
    done = {cell: _read(cell.workdir(root)) for cell in grid.cells if _is_done(cell.workdir(root))}
    for key in ("dataset", "protocol"):
        if len({run["report"][key] for run in done.values()}) > 1:
            raise UserError(f"The runs in {root} differ in {key} and make no table: remove those of another grid.")
    rows = {name: _row(parts, done) for name, parts in grid.rows.items()}
    for name, row in rows.items():
        row |= _of_runs([run for cell, run in done.items() if cell.name == name])
    first = next(iter(done.values()), {"report": {"dataset": None, "protocol": None}})["report"]
    clips = {cell.split: run["report"]["num_clips"] for cell, run in done.items()}
    return {"dataset": first["dataset"], "protocol": first["protocol"], "num_clips": clips, "rows": rows}


def _row(parts, done):
    """Top-1 of the mean of the parts' probabilities, for each split and seed for which all parts are there."""
    found = {}
    for place in sorted({(cell.split, cell.seed) for cell in done}):
        runs = {cell.name: run for cell, run in done.items() if (cell.split, cell.seed) == place}
        if all(name in runs for name, _ in parts):
            first = runs[parts[0][0]]["scores"]
            chances = sum(softmax(_as_in(first, runs[name]["scores"], stream, parts)) for name, stream in parts)
            labels = first["labels"]
            found.setdefault(place[0], []).append(top_k_accuracy(chances, labels, 1))
    splits = {split: _spread(values) for split, values in found.items()}
    over = _spread([spread["mean"] for spread in splits.values()])
    return {"splits": splits, "mean": over["mean"], "deviation": over["deviation"]}


def _as_in(first, scores, stream, parts):
    """The stream's logits, clip by clip in the order of the first run's names."""
    order = {name: number for number, name in enumerate(scores["names"].tolist())}
    names, rows = first["names"].tolist(), "+".join(dict.fromkeys(name for name, _ in parts))
    if set(order) != set(names) or not np.array_equal(scores["classes"], first["classes"]):
        raise UserError(f"The runs of {rows} have different clips or classes: fuse runs of the same records and split.")
    return scores[stream][[order[name] for name in names]]


def check_finished(asked: Config) -> None:
    """Raises UserError where the run in `asked.train.workdir` was trained, or evaluated, by other settings."""
    workdir, protocol = check_workdir(asked), asked.eval
    wanted = protocol_in_words(protocol.test_segments, protocol.test_crops, protocol.average, protocol.test_on)
    found = json.loads((workdir / "evaluation.json").read_text(encoding="utf-8"))["protocol"]
    if found != wanted:
        raise UserError(
            f"--test_segments, --test_crops, --average or --test_on: {workdir} was evaluated by {found}, not {wanted}: "
            "pass the same flags, or another --workdir."
        )


def _of_runs(runs):
    def mean(figure):
        values = [figure(run["report"]) for run in runs]
        return statistics.fmean(values) if values and None not in values else None

    def retrieved(report):
        both = [report["embeddings"]["retrieval"][way]["recall_at_1"] for way in ("flow_to_rgb", "rgb_to_flow")]
        return None if None in both else statistics.fmean(both)

    return {
        **{stream: mean(lambda report, stream=stream: report[stream]["top1"]) for stream in ("spatial", "temporal")},
        "recall_at_1": mean(retrieved),
        "variation": mean(lambda report: report["embeddings"]["variation"]["cross"]),
        "seconds": statistics.fmean(run["seconds"] for run in runs) if runs else None,
    }


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


def _is_done(workdir):
    return (workdir / "evaluation.json").is_file()


def _read(workdir):
    header, *rows = (workdir / "history.csv").read_text(encoding="utf-8").splitlines()
    column = header.split(",").index("seconds")
    with np.load(workdir / "scores.npz") as scores:
        return {
            "report": json.loads((workdir / "evaluation.json").read_text(encoding="utf-8")),
            "scores": {name: scores[name] for name in (*STREAMS, "labels", "names", "classes")},
            "seconds": sum(float(row.split(",")[column]) for row in rows),
        }


def _spread(values):
    if not values:
        return {"mean": None, "deviation": None, "count": 0, "values": []}
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "deviation": deviation, "count": len(values), "values": values}


def _in_words(spread):
    if not spread:
        return "not measured"
    deviation = "" if spread["deviation"] is None else f" +- {100 * spread['deviation']:.1f}"
    return f"{100 * spread['mean']:.1f}{deviation} ({spread['count']})"


def _percent(fraction):
    return "" if fraction is None else f"{100 * fraction:.1f}"
