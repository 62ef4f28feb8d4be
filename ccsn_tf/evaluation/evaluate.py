"""Evaluation of a trained model on one side of a split: evaluation.json, confusion.png, scores.npz."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable

import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.data.manifest import Manifest
from ccsn_tf.evaluation.embeddings import embedding_report
from ccsn_tf.evaluation.metrics import confusion_matrix, summarise
from ccsn_tf.evaluation.protocol import make_forward, score_clips
from ccsn_tf.files import whole_file, write_text
from ccsn_tf.models.build import load_model


def evaluate(config: Config, progress: Callable[[int, int], None] = lambda done, total: None) -> dict:
    """Scores the test clips with `config.train.workdir`'s model.keras and writes the results beside it.

    evaluation.json: `dataset`, `split`, `connection`, `protocol`, `num_clips`, `num_skipped` (clips of the list that
    could not be prepared: 0 in a figure to be compared); `spatial`, `temporal`, `fused`, each with `top1`, `top5`,
    `mean_class` as fractions; `embeddings` (see `embedding_report`). scores.npz: `names`, `labels`, `classes` and the
    logits of each stream, so that other fusions need no forward pass.

    Args:
        config: of the run (config.json), with the test protocol to use.
        progress: called with (clips done, clips in all).

    Returns:
        The content of evaluation.json.

    Raises:
        UserError: no finished run, or records that do not fit it.
    """
    workdir = pathlib.Path(config.train.workdir)
    model = load_model(str(workdir / "model.keras"))
    manifest = Manifest.read(config.data.record_dir)
    # The model's own label order, whatever the order in the records.
    classes, clips = manifest.select(dataclasses.replace(config.data, classes=tuple(model.classes)), "test")
    segments, crops = config.eval.test_segments, config.eval.test_crops
    scores = score_clips(
        make_forward(model), clips, classes, config.data.record_dir, config.model, segments, crops, progress
    )
    report = {
        "dataset": config.data.dataset,
        "split": config.data.split,
        "num_classes": len(classes),
        "num_clips": len(clips),
        "num_skipped": manifest.count_skipped(config.data.split, "test", classes),
        "connection": config.model.connection,
        "protocol": protocol_in_words(segments, crops),
        **{stream: summarise(logits, scores.labels) for stream, logits in scores.logits.items()},
        "embeddings": embedding_report(scores.embeddings["spatial"], scores.embeddings["temporal"], scores.labels),
    }
    with whole_file(workdir / "scores.npz") as beside, beside.open("wb") as file:
        names = np.array([clip.name for clip in clips])
        np.savez(file, names=names, labels=scores.labels, classes=np.array(classes), **scores.logits)
    write_text(workdir / "evaluation.json", json.dumps(report, indent=2) + "\n")
    draw_confusion(report, confusion_matrix(scores.logits["fused"], scores.labels), classes, workdir / "confusion.png")
    return report


def protocol_in_words(segments: int, crops: int) -> str:
    """The protocol as it is printed beside every figure."""
    views = {1: "centre crop", 5: "5 crops", 10: "10 crops"}[crops]
    return f"{segments} segments x {views} a clip, logits averaged, fused by the model"


def draw_confusion(report: dict, confusion: np.ndarray, classes, path: pathlib.Path) -> None:
    """Draws the fused prediction's confusion matrix, with the figures' protocol in the title.

    Raises:
        UserError: matplotlib is not installed.
    """
    from ccsn_tf.evaluation.figures import save_confusion

    data = f"{report['dataset']}, {report['num_classes']} classes, split {report['split']}"
    title = f"{data}: fused top-1 {100 * report['fused']['top1']:.1f} %"
    save_confusion(confusion, classes, path, f"{title}\n{report['num_clips']} clips, {report['protocol']}")
