"""Shards by Apache Beam, on as many machines as its runner has: an element is a shard.

Every machine needs this package and the videos under the same path; the records go to a disk that all of them mount,
or to where Beam's file systems reach (gs://, s3://, hdfs://).
"""

from __future__ import annotations

import contextlib
import functools
import io
import random
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

import apache_beam as beam
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from ccsn_tf.config import DataConfig
from ccsn_tf.data.clip_record import make_record, result_of
from ccsn_tf.data.record_folder import LocalFolder
from ccsn_tf.data.shards import Shard, write_shard
from ccsn_tf.data.worker_pool import WorkerPool
from ccsn_tf.errors import UserError


class BeamFolder:
    """A record folder of Beam's file systems, with the methods of `LocalFolder`."""

    scratch = None

    def __init__(self, path: str):
        self.path = path.rstrip("/")

    def __str__(self) -> str:
        return self.path

    def names(self) -> list[str]:
        """Of all files."""
        (found,) = FileSystems.match([f"{self.path}/*"])
        return [file.path.rpartition("/")[2] for file in found.metadata_list]

    def read(self, name: str) -> bytes | None:
        """A file's content, None if there is none."""
        if not FileSystems.exists(self._at(name)):
            return None
        with FileSystems.open(self._at(name), compression_type=CompressionTypes.UNCOMPRESSED) as file:
            return file.read()

    def size(self, name: str) -> int | None:
        """A file's size in bytes, None if there is none."""
        path = self._at(name)
        return FileSystems.get_filesystem(path).size(path) if FileSystems.exists(path) else None

    @contextlib.contextmanager
    def whole(self, name: str) -> Iterator[BinaryIO]:
        """Yields a file to write to, which has its name once the block has ended well.

        Raises:
            UserError: it cannot be written there.
        """
        path, beside = self._at(name), self._at(f".{random.getrandbits(63)}.{name}")
        try:
            with FileSystems.create(beside, compression_type=CompressionTypes.UNCOMPRESSED) as file:
                yield file
            if FileSystems.exists(path):  # which some file systems do not write over
                FileSystems.delete([path])
            FileSystems.rename([beside], [path])
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error}): free space, or choose another folder.") from None
        finally:
            with contextlib.suppress(OSError):
                if FileSystems.exists(beside):
                    FileSystems.delete([beside])

    def _at(self, name):
        return f"{self.path}/{name}"


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
    options = _options(config)
    try:
        with beam.Pipeline(options=options) as pipeline:
            listed = pipeline | beam.Create(list(shards)) | beam.Reshuffle()  # else one worker would have them all
            _ = listed | beam.ParDo(_WriteShard(folder, config, min_fields))
    except Exception as error:
        ours = re.search(r"UserError: (.*?)(?: \[while running|$)", str(error), re.MULTILINE)
        said = ours.group(1) if ours else f"{type(error).__name__}: {str(error).strip()}"
        raise UserError(f"--runner={config.runner} ended: {said}") from error
    progress(sum(len(shard.clips) for shard in shards), 0)


def _options(config):
    flags = [f"--runner={config.runner}"]
    if config.runner == "DirectRunner":
        flags += ["--direct_running_mode=multi_processing", f"--direct_num_workers={config.workers}"]
    complaints = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaints):
            options = PipelineOptions(flags + shlex.split(config.beam_args))
            known, given = (options.get_all_options(retain_unknown_options=unknown) for unknown in (False, True))
    except (SystemExit, ValueError) as error:
        reason = complaints.getvalue().strip().rpartition("error: ")[2] or error
        raise UserError(f"--beam_args={config.beam_args} is not understood: {reason}.") from None
    if given.keys() - known.keys():
        raise UserError(f"--beam_args names {min(given.keys() - known.keys())}, which Apache Beam does not know.")
    return options
