"""Records of clips by worker processes of this machine."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from ccsn_tf.config import DataConfig
from ccsn_tf.data.datasets import Clip
from ccsn_tf.data.prepare.encode import Skipped, make_record, result_of
from ccsn_tf.data.prepare.worker_pool import WorkerPool
from ccsn_tf.data.records.manifest import StoredClip
from ccsn_tf.data.records.record import record_file
from ccsn_tf.files import LocalFolder

Results = dict[str, StoredClip | Skipped]
"""What became of each clip, by its name."""


def write_records(
    folder: LocalFolder,
    clips: Sequence[Clip],
    config: DataConfig,
    min_fields: int,
    progress: Callable[[int, int], None],
) -> Results:
    """Writes the records of clips, a worker a clip at a time, in the order of the list.

    Args:
        progress: called often, with (clips done, frames decoded).

    Raises:
        UserError: the disk is full, or no worker process starts.
    """
    results, frames = {}, 0

    def count(beats):
        nonlocal frames
        frames += beats
        progress(len(results), frames)

    with record_pool(config, min_fields, config.workers) as pool:
        for outcome in pool.run([(clip, str(folder.path / record_file(clip.name))) for clip in clips], on_beat=count):
            clip = clips[outcome.index]
            results[clip.name] = result_of(outcome, clip)
            progress(len(results), frames)
    return results


def record_pool(config: DataConfig, min_fields: int, workers: int) -> WorkerPool:
    """Processes that make records of clips; a task is a clip and the path of its record."""
    return WorkerPool(
        functools.partial(make_record, config=config, min_fields=min_fields), workers, config.stall_seconds
    )
