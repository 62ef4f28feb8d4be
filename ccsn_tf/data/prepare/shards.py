"""Shards by worker processes: each makes records of clips, and one process writes them in order."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence

from ccsn_tf.config import DataConfig
from ccsn_tf.data.prepare.encode import make_record, result_of
from ccsn_tf.data.prepare.worker_pool import WorkerPool
from ccsn_tf.data.records.folder import LocalFolder
from ccsn_tf.data.records.write import Shard, write_shard


def write_shards(
    folder: LocalFolder,
    shards: Sequence[Shard],
    config: DataConfig,
    min_fields: int,
    progress: Callable[[int, int], None],
) -> None:
    """Writes shards with processes of this machine; see `fill_shards`."""
    with record_pool(config, min_fields, config.workers) as pool:
        fill_shards(folder, shards, pool, progress)


def record_pool(config: DataConfig, min_fields: int, workers: int) -> WorkerPool:
    """Processes that make records of clips."""
    function = functools.partial(make_record, config=config, min_fields=min_fields)
    return WorkerPool(function, workers, config.stall_seconds)


def fill_shards(
    folder: LocalFolder,
    shards: Sequence[Shard],
    pool: WorkerPool,
    progress: Callable[[int, int], None] = lambda done, frames: None,
) -> None:
    """Writes shards: the workers of a `record_pool` make records, this process puts them in order and into files.

    A worker has one clip at a time, the next one of the list, so that all are busy to the end. At most as many shards
    are open as there are workers, and one more.

    Args:
        progress: called often, with (clips done, frames decoded).

    Raises:
        UserError: the disk is full, or no worker process starts.
    """
    places = [(shard, position) for shard in shards for position in range(len(shard.clips))]
    done, frames, writers = 0, 0, {}

    def count(beats):
        nonlocal frames
        frames += beats
        progress(done, frames)

    with contextlib.ExitStack() as stack:
        for outcome in pool.run([(shard.clips[position],) for shard, position in places], on_beat=count):
            shard, position = places[outcome.index]
            if shard.name not in writers:
                writers[shard.name] = stack.enter_context(contextlib.closing(write_shard(folder, shard)))
                next(writers[shard.name])
            with contextlib.suppress(StopIteration):  # the shard's last clip
                writers[shard.name].send((position, result_of(outcome, shard.clips[position])))
            done += 1
            progress(done, frames)
