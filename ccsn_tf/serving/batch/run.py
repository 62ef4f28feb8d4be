"""Many clips through an exported model: worker processes make its input while it works on the batch before.

Killed at any moment and started again, it goes on where it stopped. A clip that cannot be used, that kills its worker
process or makes it hang gets a row that says why. No TensorFlow, unless the model is a SavedModel.
"""

import contextlib
import dataclasses
import datetime
import functools
import os
import pathlib
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.data.datasets.listing import read_lines
from ccsn_tf.data.datasets.videos import VideoFinder, videos_below
from ccsn_tf.data.records.manifest import Manifest, refuse_other_input
from ccsn_tf.errors import UserError
from ccsn_tf.files import alone_in
from ccsn_tf.serving.batch.backends import Exported, ModelThread, read_metadata
from ccsn_tf.serving.batch.output import Output, failure, prediction
from ccsn_tf.serving.client.clip_input import StoredRecord, VideoFile, network_input
from ccsn_tf.serving.metadata import MAX_SEGMENTS, client_config
from ccsn_tf.serving.model_card import identity
from ccsn_tf.worker_pool import WorkerPool

SIDES = ("test", "train", "all")
_BATCH = 8  # clips at most, where nothing is asked for


@dataclasses.dataclass(frozen=True)
class BatchSettings:
    """How clips are predicted, and what is written.

    Args:
        segments: snippets of a clip; 0: as many as the model's metadata says.
        top_k: classes named; 0: as many as the metadata says.
        all_scores: write every class's score, too.
        batch_size: clips a batch; 0: 8, or as many as memory is meant for.
        workers: processes that make input; 0: one a core.
        stall_seconds: one that does not get on for as long is ended.
    """

    segments: int = 0
    top_k: int = 0
    all_scores: bool = False
    batch_size: int = 0
    workers: int = 0
    stall_seconds: float = 60.0


@dataclasses.dataclass(frozen=True)
class Items:
    """Clips with different names; `source` is where the names are to be looked up, an absolute path.

    `note` says what is there and not among them.
    """

    source: str
    items: tuple[VideoFile | StoredRecord, ...]
    note: str = ""


def videos_of_folder(folder: str) -> Items:
    """All videos below a folder, see `videos_below`; named by their path below it.

    Raises:
        UserError: no such folder, or no video in it.
    """
    if not os.path.isdir(folder):
        raise UserError(f"--video_dir={folder} is no folder: name the folder of the videos.")
    found = videos_below(folder)
    if not found.paths:
        words = f"--video_dir={folder} holds no video: name the folder of the videos. {found.in_words()}"
        raise UserError(words.rstrip())
    return _videos(folder, {name: os.path.join(folder, name) for name in found.paths}, found.in_words())


def videos_of_list(path: str, folder: str = "") -> Items:
    """The videos that a text file names, a path a line, each once; a file that is not there is a matter of its own.

    Args:
        folder: what paths in it are relative to; empty: the folder of the list.

    Raises:
        UserError: no such file, not text, or no line in it.
    """
    lines = read_lines(pathlib.Path(path), "--video_list names a text file, a path a line")
    if not lines:
        raise UserError(f"--video_list={path} is empty: write the path of a video on each line.")
    folder = folder or os.path.dirname(path) or "."
    finder = VideoFinder(folder)
    found = {line: finder.find_written(line) for _, line in lines}
    return _videos(folder, {line: video or os.path.join(folder, path) for line, (path, video) in found.items()})


def clips_of_records(record_dir: str, split: int, side: str, config: Config) -> Items:
    """The clips of prepared records; named as there.

    Args:
        side: one of `SIDES`; of "all" each clip that is there, whatever the split.
        config: how the model wants its input, from `client_config`.

    Raises:
        UserError: no finished records, records made otherwise, no such split, or no clip.
    """
    manifest = Manifest.read(record_dir)
    refuse_other_input(manifest.settings, config, record_dir)
    clips = manifest.clips if side == "all" else manifest.of_side(split, side, record_dir)
    if not clips:
        raise UserError(f"--record_dir={record_dir} has no {side} clip in split {split}: choose another --side.")
    return Items(os.path.abspath(record_dir), tuple(StoredRecord(clip.name, clip, record_dir) for clip in clips))


def _videos(folder, paths, note=""):
    files = tuple(VideoFile(name, str(path)) for name, path in paths.items())
    return Items(os.path.abspath(folder), files, note)


def predict_all(
    items: Items,
    export: Exported,
    output_dir: str,
    settings: BatchSettings,
    progress: Callable[[int, int, int], None] = lambda done, total, failed: None,
) -> dict[str, int]:
    """Predicts the clips that have no row yet in `output_dir`.

    Args:
        output_dir: made if need be, see `Output`.
        progress: called often, with (clips done, clips in all, those of them that have no prediction).

    Returns:
        `clips`, `predicted` and `failed` of all runs; `now`, how many clips this one did.

    Raises:
        UserError: a mistake in the settings, another process is at work there, or what `Output` and `ModelThread` do
            not take.
    """
    if "://" in output_dir:
        raise UserError(f"--output_dir={output_dir} is no folder of this machine: name one.")
    metadata = read_metadata(export)
    config, classes = client_config(metadata), metadata["classes"]
    settings = _filled_in(settings, metadata, config.model.flow_source, export)
    written = {"top_k": settings.top_k, "all_scores": settings.all_scores}
    bound = {"source": items.source, "backend": export.backend, "segments": settings.segments, **written}
    bound |= {"model": identity(export.path), "weights": metadata["weights_sha256"]}
    about = {"bound": bound, "path": export.path, "classes": classes, "begun": datetime.date.today().isoformat()}
    folder = pathlib.Path(output_dir)
    with alone_in(folder):
        output = Output(folder, about)
        missing = [item for item in items.items if item.name not in output.done]
        done = [output.done[item.name] for item in items.items if item.name in output.done]
        there, total, failed = len(done), len(items.items), done.count(False)
        progress(there, total, failed)
        if missing:
            with contextlib.ExitStack() as stack:
                export = dataclasses.replace(export, clips=(settings.batch_size, settings.segments))
                model = stack.enter_context(contextlib.closing(ModelThread(export)))
                function = functools.partial(_make_input, config=config, num_segments=settings.segments)
                pool = stack.enter_context(WorkerPool(function, settings.workers, settings.stall_seconds))
                row = functools.partial(prediction, classes=classes, **written)
                batches = _predictions(
                    missing, pool, model, settings.batch_size, row, lambda _: progress(there, total, failed)
                )
                for rows in stack.enter_context(contextlib.closing(batches)):
                    output.append(rows)
                    there, failed = there + len(rows), failed + sum("error" in row for row in rows)
                    progress(there, total, failed)
    return {"clips": total, "predicted": total - failed, "failed": failed, "now": len(missing)}


def _filled_in(settings, metadata, flow_source, export):
    """The settings without zeros; UserError where the model does not take such batches."""
    segments = settings.segments or metadata["segments"]
    most = metadata["limits"]["segments_a_request"] if export.backend == "saved_model" else None
    fitting = max(1, (most or MAX_SEGMENTS[flow_source]) // segments)
    batch_size = settings.batch_size or min(_BATCH, fitting)
    if most and batch_size * segments > most:
        raise UserError(
            f"--batch_size={batch_size} clips of {segments} segments are more than the {most} segments that "
            f"{export.path} takes at once: lower --batch_size to {fitting}."
        )
    return dataclasses.replace(
        settings,
        segments=segments,
        top_k=min(settings.top_k or metadata["top_k"], len(metadata["classes"])),
        batch_size=batch_size,
    )


def _make_input(item, beat, config, num_segments):
    """What a worker process does with a clip."""
    cv2.setNumThreads(1)  # one process a core: more threads would only wait for one another
    return network_input(item, config, num_segments, beat)


def _predictions(items, pool, model, batch_size, row, on_beat) -> Iterator[list[dict]]:
    """Yields the rows of clips, about a batch at a time, each as soon as it is known.

    While the model works on one batch, the next is collected, and no more: memory does not depend on the number of
    clips, and a killed run has one batch of predictions to make again.
    """
    batch, running, rows = {}, None, []
    for outcome in pool.run(((item,) for item in items), on_beat=on_beat):
        name = items[outcome.index].name
        if outcome.error is None:
            batch[name] = outcome.value
        else:
            known = isinstance(outcome.error, UserError)
            rows.append(failure(name, str(outcome.error) if known else outcome.why(name)))
        if running and (running[1].done() or len(batch) == batch_size):
            rows += map(row, running[0], running[1].result())
            running = None
        if len(batch) == batch_size:
            running, batch = _begun(batch, model), {}
        if rows and (not running or len(rows) >= batch_size):
            yield rows
            rows = []
    for names, scores in [each for each in (running, batch and _begun(batch, model)) if each]:
        rows += map(row, names, scores.result())
    if rows:
        yield rows


def _begun(batch, model):
    """The names of a batch's clips, and their scores to come."""
    inputs = list(batch.values())
    return list(batch), model.submit({name: np.stack([each[name] for each in inputs]) for name in inputs[0]})
