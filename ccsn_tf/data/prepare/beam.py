"""Shards by Apache Beam, on as many machines as its runner has: an element is a shard."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence

import apache_beam as beam

from ccsn_tf.config import DataConfig
from ccsn_tf.data.beam import BeamFolder, beam_options, errors_of_runner
from ccsn_tf.data.prepare.worker_pool import WorkerPool
from ccsn_tf.data.records.clip_record import make_record, result_of
from ccsn_tf.data.records.folder import LocalFolder
from ccsn_tf.data.records.shards import Shard, write_shard


class _WriteShard(beam.DoFn):
    """Writes a shard; its clips are made in a process of their own, as on one machine, and may kill it or hang."""

    def __init__(self, folder, config, min_fields):
        self._folder, self._config, self._min_fields = folder, config, min_fields

    def setup(self):
        function = functools.partial(make_record, config=self._config, min_fields=self._min_fields)
        self._pool = WorkerPool(function, 1, self._config.stall_seconds)

    def process(self, shard):
        with contextlib.closing(write_shard(self._folder, shard)) as writer:
            next(writer)
            for outcome in self._pool.run([(clip,) for clip in shard.clips]):
                with contextlib.suppress(StopIteration):  # the last clip
                    writer.send((outcome.index, result_of(outcome, shard.clips[outcome.index])))
        yield shard.name

    def teardown(self):
        self._pool.close()


def write_shards(
    folder: LocalFolder | BeamFolder,
    shards: Sequence[Shard],
    config: DataConfig,
    min_fields: int,
    progress: Callable[[int, int], None],
) -> None:
    """Runs the pipeline, to its end.

    Args:
        progress: called at the end: runners have ways of their own to show how far they are.

    Raises:
        UserError: bad options, or the runner gives up; the message says what it said.
    """
    with errors_of_runner(config), beam.Pipeline(options=beam_options(config)) as pipeline:
        listed = pipeline | beam.Create(list(shards)) | beam.Reshuffle()  # else one worker would have them all
        _ = listed | beam.ParDo(_WriteShard(folder, config, min_fields))
    progress(sum(len(shard.clips) for shard in shards), 0)
