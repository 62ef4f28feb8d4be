"""Evaluation of a trained model on one side of a split: evaluation.json, confusion.png, scores.npz, a report."""

import json
import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.data.datasets.listing import some_of
from ccsn_tf.data.pipeline import evaluation_views
from ccsn_tf.data.records.selection import evaluated_clips, of_records
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.compare import protocol_in_words
from ccsn_tf.evaluation.embeddings import embedding_report
from ccsn_tf.evaluation.figures import save_confusion
from ccsn_tf.evaluation.metrics import Scores, confusion_matrix, most_confused, per_class_accuracy, summarise
from ccsn_tf.evaluation.predict import make_forward, score_clips
from ccsn_tf.evaluation.rejection import WAYS, calibrate, write_means
from ccsn_tf.evaluation.report import write_report
from ccsn_tf.evaluation.similar import INDEX, read_index
from ccsn_tf.files import whole_file, write_text
from ccsn_tf.models.build import load_model
from ccsn_tf.models.connections.block import without_messages
from ccsn_tf.progress import Progress
from ccsn_tf.training.feature_cache import FeatureCache

_MOST_CONFUSED = 10  # kinds of mistakes that are listed


def evaluate(
    config: Config,
    progress: Callable[[int, int], None] = lambda done, total: None,
    page: str | pathlib.Path = "",
    say: Callable[[str], None] = lambda line: None,
) -> dict:
    """Scores the test clips with `config.train.workdir`'s model.keras and writes the results beside it.

    evaluation.json: `dataset`, `split`, `connection`, `protocol`, `num_clips`, `num_skipped` (clips of the list that
    could not be prepared: 0 in a figure to be compared), `num_repeating` (clips with fewer places for a snippet than
    the protocol has segments, some of which are then the same); `spatial`, `temporal`, `fused`, each with `top1`,
    `top5`, `mean_class` as fractions; `classes` (see `class_table`) and `most_confused`, of the fused prediction;
    `embeddings` (see `embedding_report`); `calibration` and `rejection` (see `calibrate`), and `num_unknown`, the test
    clips of `unknown_classes`. class_embeddings.npz: the classes' mean embeddings. scores.npz: `names`, `groups`,
    `labels`, `classes` and the logits of each stream, so that other fusions need no forward pass.

    Args:
        config: of the run (config.json), with the test protocol to use.
        progress: called with (clips done, clips in all).
        page: where to write a report for people, one HTML file (`write_report`); empty: none. Where the work directory
            has an index (`Searcher`) of this model, it shows what mistaken clips are like.
        say: receives lines for people.

    Returns:
        The content of evaluation.json.

    Raises:
        UserError: no finished run, records that do not fit it, a `page` that is a folder, or no matplotlib.
    """
    workdir = pathlib.Path(config.train.workdir)
    if page and pathlib.Path(page).is_dir():
        raise UserError(f"--report={page} is a folder: name a file in it.")
    model = load_model(str(workdir / "model.keras"))
    config, manifest = of_records(config)
    _refuse_other_classes(model.classes, manifest.classes, config)
    classes = tuple(model.classes)  # its own label order, whatever the order in the records
    clips, index = evaluated_clips(config, manifest, classes), None
    if page and (workdir / INDEX).exists():
        try:
            index = read_index(workdir / INDEX, config)
        except UserError as error:
            say(f"The report is without nearest clips: {error}")
    score = _scorer(model, config)
    scores = score(clips, classes, progress)
    confusion = confusion_matrix(scores.logits["fused"], scores.labels)
    groups = np.array([f"{clip.label}/{clip.group}" for clip in clips])
    strange, unknown = config.eval.unknown_classes, None
    if strange:
        others = evaluated_clips(config, manifest, strange)
        unknown = score(others, strange, Progress("unknown classes", "clips"))
    ways = [way for way in WAYS if way != "energy" or config.eval.average == "logits"]
    calibration, rejection, means = calibrate(scores, groups, unknown, ways)
    report = {
        "dataset": config.data.dataset,
        "split": config.data.split,
        "num_classes": len(classes),
        "num_clips": len(clips),
        "num_skipped": manifest.count_skipped(config.data.split, "train" if config.data.fold else "test", classes),
        "num_repeating": sum(clip.fields - config.model.flow_length + 1 < config.eval.test_segments for clip in clips),
        "connection": config.model.connection,
        "protocol": protocol_in_words(config.eval, config.data),
        **{stream: summarise(logits, scores.labels) for stream, logits in scores.logits.items()},
        "classes": class_table(scores, classes),
        "most_confused": [
            {"class": classes[truth], "taken_for": classes[predicted], "clips": clips}
            for truth, predicted, clips in most_confused(confusion, _MOST_CONFUSED)
        ],
        "embeddings": embedding_report(scores.embeddings["spatial"], scores.embeddings["temporal"], scores.labels),
        "calibration": calibration,
        "rejection": rejection,
        "num_unknown": len(unknown.labels) if unknown else 0,
    }
    ids = {"names": [clip.name for clip in clips], "groups": groups, "labels": scores.labels, "classes": classes}
    with whole_file(workdir / "scores.npz") as beside:
        np.savez(beside, **ids, **scores.logits)
    write_means(workdir, classes, means)
    write_text(workdir / "evaluation.json", json.dumps(report, indent=2) + "\n")
    data = f"{report['dataset']}, {report['num_classes']} classes, split {report['split']}"
    title = f"{data}: fused top-1 {100 * report['fused']['top1']:.1f} %"
    title += f"\n{report['num_clips']} clips, {report['protocol']}"
    save_confusion(confusion, classes, workdir / "confusion.png", title)
    if page:
        alone = None
        if model.connection_blocks:
            with without_messages(model.connection_blocks):
                alone = _scorer(model, config)(clips, classes, Progress("without messages", "clips"))
        write_report(page, config, model, clips, scores, alone, report, workdir / "confusion.png", index)
    return report


def _scorer(model, config):
    """What scores clips of classes by the config's protocol, called with (clips, classes, progress).

    With a feature cache the frozen stages are run first, and the rest of the network on what they give.
    """
    segments, crops = config.eval.test_segments, config.eval.test_crops
    frozen = FeatureCache(model, config) if config.train.feature_cache else None
    forward = make_forward(frozen.top if frozen else model)

    def score(clips, classes, progress):
        if frozen:
            views = frozen.evaluation_views(clips, classes, segments, crops, Progress("frozen stages", "clips"))
        else:
            views = evaluation_views(clips, classes, config.data.record_dir, config.model, segments, crops)
        return score_clips(forward, views, len(clips), segments, crops, progress, config.eval.average)

    return score


def _refuse_other_classes(known: Sequence[str], recorded: Sequence[str], config: Config) -> None:
    """Raises UserError where the records have no class of the model, or more and the run did not choose among them.

    Clips of a class that the model does not know would be left out in silence.
    """
    of_model, there = f"the model in {config.train.workdir}", f"--record_dir={config.data.record_dir}"
    if not set(known) & set(recorded):
        raise UserError(f"{there} has no class of {of_model}: give records of {some_of(known)}.")
    unknown = config.eval.unknown_classes
    if not set(unknown) <= set(recorded) - set(known):
        raise UserError(
            f"--unknown_classes={','.join(unknown)} must be classes that {there} has and {of_model} does not know."
        )
    strange = [name for name in recorded if name not in (*known, *unknown)]
    if strange and not config.data.classes:
        raise UserError(
            f"{there} has class {some_of(strange)}, which {of_model} does not know: give the records that it is for, "
            "or prepare some of its classes alone with --classes."
        )


def class_table(scores: Scores, classes: Sequence[str]) -> list[dict]:
    """One row a class, in label order: `class`, `clips`, and each stream's top-1 among them (None without clips)."""
    counts = np.bincount(scores.labels, minlength=len(classes))
    rows = [{"class": name, "clips": int(count)} for name, count in zip(classes, counts, strict=True)]
    for stream, logits in scores.logits.items():
        for row, accuracy in zip(rows, per_class_accuracy(logits, scores.labels), strict=True):
            row[stream] = float(accuracy) if row["clips"] else None
    return rows
