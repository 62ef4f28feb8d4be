"""Grids of runs: which there are, which are done, and the table of their figures."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import statistics
from collections.abc import Iterable

from ccsn_tf.errors import UserError
from ccsn_tf.files import write_text

STREAMS = ("spatial", "temporal", "fused")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a grid: a row of the table (`name`, with the flags that make it) and a seed."""

    name: str
    flags: tuple[str, ...]
    seed: int

    def workdir(self, root: pathlib.Path) -> pathlib.Path:
        """The run's folder below `root`."""
        return root / f"{self.name}-seed{self.seed}"


def grid(variants: Iterable[str], seeds: Iterable[int]) -> list[Cell]:
    """The runs of a grid, seed by seed, so that a grid that is stopped has whole rows of the first seeds.

    Args:
        variants: texts "name: --flag=value --flag=value".
        seeds: seeds.

    Raises:
        UserError: a variant that is not of this form, or a name that comes twice.
    """
    rows = {}
    for variant in variants:
        name, separator, flags = variant.partition(":")
        name = name.strip()
        if not separator or not name or "/" in name or any(not flag.startswith("--") for flag in flags.split()):
            raise UserError(f"--grid: expected 'name: --flag=value ...'. Received: {variant!r}.")
        if name in rows:
            raise UserError(f"--grid names {name} twice: rename one.")
        rows[name] = tuple(flags.split())
    return [Cell(name, flags, seed) for seed in seeds for name, flags in rows.items()]


def collect(cells: Iterable[Cell], root: pathlib.Path) -> dict:
    """The table of the runs that are done.

    Returns:
        {"protocol", "num_clips", "rows": {name: {stream: {"mean", "deviation", "count", "values"}, "seconds"}}}: top-1
        fractions over seeds, the sample standard deviation (None for one run), mean seconds of training.
    """
    found: dict[str, list[dict]] = {cell.name: [] for cell in cells}
    for cell in cells:
        path = cell.workdir(root) / "evaluation.json"
        if path.is_file():
            found[cell.name].append({**json.loads(path.read_text(encoding="utf-8")), "seconds": _seconds(path.parent)})
    reports = [report for rows in found.values() for report in rows]
    for key in ("dataset", "split", "protocol", "num_clips"):
        if len({report[key] for report in reports}) > 1:
            raise UserError(f"The runs in {root} differ in {key} and make no table: remove those of another grid.")
    rows = {}
    for name, runs in found.items():
        rows[name] = {stream: _spread([run[stream]["top1"] for run in runs]) for stream in STREAMS}
        rows[name]["seconds"] = statistics.fmean(run["seconds"] for run in runs) if runs else None
    shared = {key: reports[0][key] if reports else None for key in ("dataset", "split", "protocol", "num_clips")}
    return {**shared, "rows": rows}


def write_table(table: dict, root: pathlib.Path) -> str:
    """Writes ablation.json and ablation.md into `root`; returns the latter's text."""
    lines = [
        f"{table['dataset']}, split {table['split']}: {table['num_clips']} test clips; {table['protocol']}. "
        "Top-1 in %: mean +- standard deviation (seeds).",
        "",
        "| connection | spatial | temporal | fused | training, s |",
        "|---|---|---|---|---|",
    ]
    for name, row in table["rows"].items():
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.0f}"
        lines.append(f"| {name} | " + " | ".join(_in_words(row[stream]) for stream in STREAMS) + f" | {seconds} |")
    text = "\n".join(lines) + "\n"
    write_text(root / "ablation.json", json.dumps(table, indent=2) + "\n")
    write_text(root / "ablation.md", text)
    return text


def _seconds(workdir):
    header, *rows = (workdir / "history.csv").read_text(encoding="utf-8").splitlines()
    column = header.split(",").index("seconds")
    return sum(float(row.split(",")[column]) for row in rows)


def _spread(values):
    if not values:
        return {"mean": None, "deviation": None, "count": 0, "values": []}
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "deviation": deviation, "count": len(values), "values": values}


def _in_words(spread):
    if not spread["count"]:
        return "not measured"
    deviation = "" if spread["deviation"] is None else f" +- {100 * spread['deviation']:.1f}"
    return f"{100 * spread['mean']:.1f}{deviation} ({spread['count']})"
