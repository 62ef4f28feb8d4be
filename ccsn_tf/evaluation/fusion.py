"""Late fusion of runs by their saved scores, without a forward pass."""

from __future__ import annotations

import json
import pathlib

import numpy as np

from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.metrics import summarise


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
        UserError: a run without scores, or runs of different clips, classes or protocols.
    """
    (report, first), (other, second) = _read(spatial_run), _read(temporal_run)
    for key in ("dataset", "split", "protocol"):
        if report[key] != other[key]:
            raise UserError(
                f"{spatial_run} and {temporal_run} differ in {key} ({report[key]} against {other[key]}): evaluate both "
                "alike."
            )
    for key in ("classes", "names"):
        if not np.array_equal(first[key], second[key]):
            raise UserError(f"{spatial_run} and {temporal_run} differ in their {key}: fuse runs of the same clips.")
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


def _read(workdir):
    folder = pathlib.Path(workdir)
    try:
        report = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
        with np.load(folder / "scores.npz") as scores:
            return report, dict(scores)
    except (OSError, ValueError) as error:
        raise UserError(f"{workdir} has no scores ({error}): run evaluate.py --workdir={workdir} first.") from None
