"""What is to be predicted, with what, and how: clips, an exported model and settings. No TensorFlow."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import os
import pathlib

import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.data.datasets.listing import read_lines
from ccsn_tf.data.datasets.videos import VideoFinder, videos_below
from ccsn_tf.data.prepare.worker_pool import WorkerPool
from ccsn_tf.data.records.manifest import Manifest, refuse_other_input
from ccsn_tf.errors import UserError
from ccsn_tf.serving.batch.backends import Exported, read_metadata
from ccsn_tf.serving.batch.output import prediction
from ccsn_tf.serving.client.clip_input import StoredRecord, VideoFile, make_input
from ccsn_tf.serving.client.config import MAX_SEGMENTS, client_config

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


class BatchPlan:
    """An export and settings, made to fit one another.

    Attributes:
        export, settings: as given, `settings.segments` and `settings.top_k` filled in.
        config: how input is made.
        classes: the model's.
        about: see `Output`.

    Raises:
        UserError: the model is none of ours, or does not take such batches.
    """

    def __init__(self, export: Exported, settings: BatchSettings, source: str):
        metadata = read_metadata(export)
        self.config, self.classes = client_config(metadata), tuple(metadata["classes"])
        self.settings = settings = dataclasses.replace(
            settings,
            segments=settings.segments or metadata["segments"],
            top_k=min(settings.top_k or metadata["top_k"], len(self.classes)),
        )
        most = metadata["limits"]["segments_a_request"] if export.backend == "saved_model" else None
        if not settings.batch_size:
            bound = most or MAX_SEGMENTS[self.config.model.flow_source]
            fitting = max(1, min(_BATCH, bound // settings.segments))
            self.settings = settings = dataclasses.replace(settings, batch_size=fitting)
        if most and settings.batch_size * settings.segments > most:
            raise UserError(
                f"--batch_size={settings.batch_size} clips of {settings.segments} segments are more than the {most} "
                f"segments that {export.path} takes at once: lower --batch_size to {max(1, most // settings.segments)}."
            )
        self.export = dataclasses.replace(export, clips=(settings.batch_size, settings.segments))
        self.about = {
            "bound": {
                "source": source,
                "model": export.sha256(),
                "backend": export.backend,
                **{name: getattr(settings, name) for name in ("segments", "top_k", "all_scores")},
            },
            "path": export.path,
            "weights_sha256": metadata["weights_sha256"],
            "classes": list(self.classes),
            "begun": datetime.date.today().isoformat(),
        }

    def pool(self, workers: int) -> WorkerPool:
        """Processes that make the input of clips."""
        function = functools.partial(make_input, config=self.config, num_segments=self.settings.segments)
        return WorkerPool(function, workers, self.settings.stall_seconds)

    def row(self, name: str, scores: np.ndarray) -> dict:
        """A clip's prediction; see `output.prediction`."""
        return prediction(name, scores, self.classes, self.settings.top_k, self.settings.all_scores)


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
        path: the list.
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
        record_dir: the folder.
        split: which train/test split.
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
