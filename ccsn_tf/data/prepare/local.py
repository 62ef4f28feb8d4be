"""Shards on this machine: every core makes records, this process puts them in order and into files."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence

from ccsn_tf.config import DataConfig
from ccsn_tf.data.prepare.worker_pool import WorkerPool
from ccsn_tf.data.records.clip_record import make_record, result_of
from ccsn_tf.data.records.folder import LocalFolder
from ccsn_tf.data.records.shards import Shard, write_shard


def write_shards(
    folder: LocalFolder,
    shards: Sequence[Shard],
    config: DataConfig,
    min_fields: int,
    progress: Callable[[int, int], None],
) -> None:
    """Writes shards.

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

    function = functools.partial(make_record, config=config, min_fields=min_fields)
    with WorkerPool(function, config.workers, config.stall_seconds) as pool, contextlib.ExitStack() as stack:
        for outcome in pool.run([(shard.clips[position],) for shard, position in places], on_beat=count):
            shard, position = places[outcome.index]
            if shard.name not in writers:
                writers[shard.name] = stack.enter_context(contextlib.closing(write_shard(folder, shard)))
                next(writers[shard.name])
            with contextlib.suppress(StopIteration):  # the shard's last clip
                writers[shard.name].send((position, result_of(outcome, shard.clips[position])))
            done += 1
            progress(done, frames)
