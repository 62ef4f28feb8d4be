"""How many clips are to be predicted: an exported model and settings that fit it."""

from __future__ import annotations

import dataclasses
import datetime
import functools

import numpy as np

from ccsn_tf.data.prepare.worker_pool import WorkerPool
from ccsn_tf.errors import UserError
from ccsn_tf.serving.batch.backends import Exported, read_metadata
from ccsn_tf.serving.batch.rows import prediction, to_bytes
from ccsn_tf.serving.client.clip_input import make_input
from ccsn_tf.serving.client.config import MAX_SEGMENTS, client_config

_BATCH = 8  # clips at most, where nothing is asked for


@dataclasses.dataclass(frozen=True)
class BatchSettings:
    """How clips are predicted, and what is written.

    Args:
        segments: snippets of a clip; 0: as many as the model's metadata says.
        top_k: classes named; 0: as many as the metadata says.
        all_scores: write every class's score, too.
        batch_size: clips a batch; 0: 8, or as many as memory is meant for.
        format: one of `batch_rows.FORMATS`.
        rows_a_part: rows of a file, where one does not hold all.
        workers: processes that make input; 0: one a core.
        stall_seconds: one that does not get on for as long is ended.
    """

    segments: int = 0
    top_k: int = 0
    all_scores: bool = False
    batch_size: int = 0
    format: str = "jsonl"
    rows_a_part: int = 256
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
        to_bytes((), settings.format)  # a package that is missing is missed now
        metadata = read_metadata(export)
        self.export, self.config, self.classes = export, client_config(metadata), tuple(metadata["classes"])
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
        """A clip's prediction; see `batch_rows.prediction`."""
        return prediction(name, scores, self.classes, self.settings.top_k, self.settings.all_scores)
