"""Several evaluated runs in one table, with the mean over splits."""

from __future__ import annotations

import json
import pathlib
import statistics
from collections.abc import Sequence

from ccsn_tf.config import Config
from ccsn_tf.errors import UserError

STREAMS = ("spatial", "temporal", "fused")

# What runs of one method may differ in: they are then averaged over splits.
_OF_A_RUN = frozenset({"split", "seed"})


def compare_runs(workdirs: Sequence[str]) -> str:
    """A Markdown table of evaluation.json's figures, one row a run, and a mean where the same method ran on splits.

    Raises:
        UserError: a run without an evaluation, or runs that were measured by different protocols.
    """
    reports = [_read(workdir) for workdir in workdirs]
    protocols = {report["protocol"] for report in reports}
    if len(protocols) > 1:
        raise UserError(f"The runs were measured differently ({'; '.join(sorted(protocols))}): evaluate them alike.")
    lines = [
        f"{reports[0]['dataset']}; {protocols.pop()}. In %.",
        "",
        "| run | split | clips | spatial | temporal | fused | top-5, fused | mean class, fused |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [_row(workdir, report) for workdir, report in zip(workdirs, reports, strict=True)]
    for runs in _methods(workdirs, reports):
        lines.append(_mean_row(runs))
    return "\n".join(lines)


def _row(name, report):
    figures = [report[stream]["top1"] for stream in STREAMS] + [report["fused"][k] for k in ("top5", "mean_class")]
    return f"| {name} | {report['split']} | {report['num_clips']} | " + " | ".join(_percent(f) for f in figures) + " |"


def _mean_row(reports):
    splits = sorted({report["split"] for report in reports})
    figures = [
        _mean_over_splits(reports, lambda report, stream=stream: report[stream]["top1"]) for stream in STREAMS
    ] + [_mean_over_splits(reports, lambda report, key=key: report["fused"][key]) for key in ("top5", "mean_class")]
    names = ", ".join(map(str, splits))
    return f"| mean over splits | {names} | | " + " | ".join(_percent(figure) for figure in figures) + " |"


def _mean_over_splits(reports, figure):
    """Seeds of a split count together as one."""
    by_split = {}
    for report in reports:
        by_split.setdefault(report["split"], []).append(figure(report))
    return statistics.fmean(statistics.fmean(values) for values in by_split.values())


def _methods(workdirs, reports):
    """The reports of runs that differ in nothing but split and seed, where there is more than one split."""
    groups = {}
    for workdir, report in zip(workdirs, reports, strict=True):
        config = Config.from_json(pathlib.Path(workdir, "config.json"))
        for key, others in groups.items():
            if set(config.differences(key)) <= _OF_A_RUN:
                others.append(report)
                break
        else:
            groups[config] = [report]
    return [runs for runs in groups.values() if len({report["split"] for report in runs}) > 1]


def _read(workdir):
    path = pathlib.Path(workdir, "evaluation.json")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): run evaluate.py --workdir={workdir} first.") from None


def _percent(fraction):
    return f"{100 * fraction:.1f}"
