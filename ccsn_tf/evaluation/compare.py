"""Evaluated runs: how each was measured, several in one table, and late fusion of their scores."""

import io
import json
import pathlib
import zipfile
from collections.abc import Callable, Sequence

import numpy as np

from ccsn_tf.config import Config, DataConfig, EvalConfig
from ccsn_tf.config.settings import PREDICTIONS
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.metrics import summarise

_FIGURES = (*((stream, "top1") for stream in PREDICTIONS), ("fused", "top5"), ("fused", "mean_class"))

# What runs of one method may differ in: they are then averaged over splits.
_OF_A_RUN = frozenset({"split", "fold", "seed"})


def protocol_in_words(protocol: EvalConfig, data: DataConfig) -> str:
    """The protocol as it is printed beside every figure: equal where figures can be compared."""
    held_out = f", a fold in {data.folds} of the training groups" if data.fold else ""
    views = {1: "centre crop", 3: "3 crops", 5: "5 crops", 10: "10 crops"}[protocol.test_crops]
    views = f"{protocol.test_segments} segments x {views} a clip"
    return f"{views}, {protocol.average} averaged, fused by the model{held_out}"


def read_evaluation(workdir: str | pathlib.Path) -> dict:
    """A run's evaluation.json, whose content `evaluate` describes.

    Raises:
        UserError: the run has none, or one that is damaged.
    """
    return _read(workdir, "evaluation.json", lambda path: json.loads(path.read_text(encoding="utf-8")))


def read_scores(workdir: str | pathlib.Path) -> dict[str, np.ndarray]:
    """A run's scores.npz: `names` and `labels` (N,), `classes` (C,) and each stream's logits (N, C), by ascending name.

    Raises:
        UserError: the run has none, or one that is damaged.
    """
    scores = read_arrays(workdir, "scores.npz")
    order = np.argsort(scores["names"], kind="stable")
    return {name: values if name == "classes" else values[order] for name, values in scores.items()}


def read_arrays(workdir: str | pathlib.Path, name: str) -> dict[str, np.ndarray]:
    """A NumPy file that an evaluation left. UserError: the run has none, or one that is damaged."""
    return _read(workdir, name, lambda path: dict(np.load(io.BytesIO(path.read_bytes()))))


def _read(workdir, name: str, read: Callable):
    path = pathlib.Path(workdir, name)
    try:
        return read(path)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read ({error}): run evaluate.py --workdir={workdir} first.") from None


def compare_runs(workdirs: Sequence[str]) -> str:
    """A Markdown table of evaluation.json's figures, one row a run, and a mean where the same method ran on splits.

    Seeds of a split count together as one in that mean.

    Raises:
        UserError: a run without an evaluation, or runs that were measured on different data sets or protocols.
    """
    reports = [read_evaluation(workdir) for workdir in workdirs]
    measured = {f"{report['dataset']}; {report['protocol']}" for report in reports}
    if len(measured) > 1:
        raise UserError(f"The runs were measured differently ({'; '.join(sorted(measured))}): evaluate them alike.")
    lines = [
        f"{measured.pop()}. In %.",
        "",
        "| run | split | clips | spatial | temporal | fused | top-5, fused | mean class, fused |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for workdir, report in zip(workdirs, reports, strict=True):
        lines.append(_line(workdir, report["split"], report["num_clips"], _figures(report)))
    for runs in _methods(workdirs, reports):
        by_split = {}
        for report in runs:
            by_split.setdefault(report["split"], []).append(_figures(report))
        mean = np.mean([np.mean(figures, axis=0) for figures in by_split.values()], axis=0)
        lines.append(_line("mean over splits", ", ".join(map(str, sorted(by_split))), "", mean))
    return "\n".join(lines)


def _figures(report):
    return [report[stream][key] for stream, key in _FIGURES]


def _line(name, split, clips, figures):
    return f"| {name} | {split} | {clips} | " + " | ".join(f"{100 * figure:.1f}" for figure in figures) + " |"


def _methods(workdirs, reports):
    """The reports of runs that differ in nothing but split and seed, where there is more than one split."""
    groups = {}
    for workdir, report in zip(workdirs, reports, strict=True):
        config = Config.of_run(workdir)
        known = next((other for other in groups if set(config.differences(other)) <= _OF_A_RUN), config)
        groups.setdefault(known, []).append(report)
    return [runs for runs in groups.values() if len({report["split"] for report in runs}) > 1]


def fuse_runs(spatial_run: str, temporal_run: str, weights: tuple[float, float]) -> dict:
    """Weighs the spatial logits of one run against the temporal ones of another, or of the same.

    Args:
        spatial_run: work directory with the evaluation.json and scores.npz of `evaluate.py`.
        temporal_run: likewise; both of the same clips, by the same protocol.
        weights: of the spatial and of the temporal logits (1 and 1.5: TSN).

    Returns:
        {"dataset", "split", "protocol", "num_clips", "weights", "spatial", "temporal", "fused"}; the last three as in
        evaluation.json.

    Raises:
        UserError: a run without scores, or runs of different clips, labels, classes or protocols.
    """
    report, other = read_evaluation(spatial_run), read_evaluation(temporal_run)
    for key in ("dataset", "split", "protocol"):
        if report[key] != other[key]:
            raise UserError(
                f"{spatial_run} and {temporal_run} differ in {key} ({report[key]} against {other[key]}): evaluate both "
                "alike."
            )
    first, second = read_scores(spatial_run), read_scores(temporal_run)
    refuse_different_clips({spatial_run: first, temporal_run: second})
    streams = {"spatial": first["spatial"], "temporal": second["temporal"]}
    streams["fused"] = weights[0] * streams["spatial"] + weights[1] * streams["temporal"]
    protocol = report["protocol"].removesuffix(", fused by the model")
    return {
        "dataset": report["dataset"],
        "split": report["split"],
        "protocol": f"{protocol}, logits weighted {weights[0]:g}:{weights[1]:g}",
        "num_clips": len(first["names"]),
        "weights": list(weights),
        **{stream: summarise(logits, first["labels"]) for stream, logits in streams.items()},
    }


def refuse_different_clips(scores: dict[str, dict[str, np.ndarray]]) -> None:
    """Raises UserError where the {run: `read_scores`} that are to be fused differ in clips, labels or classes."""
    first, *others = scores.values()
    for key in ("names", "labels", "classes"):
        if not all(np.array_equal(first[key], other[key]) for other in others):
            raise UserError(f"{' and '.join(scores)} differ in their {key}: fuse runs of the same records and split.")
