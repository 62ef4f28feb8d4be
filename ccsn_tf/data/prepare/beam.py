"""Shards by Apache Beam, and what else needs of it: its options, its file systems, its errors in a sentence.

Every machine needs this package and the videos under the same path; what is written goes to a disk that all of them
mount, or to where Beam's file systems reach (gs://, s3://, hdfs://).
"""

from __future__ import annotations

import contextlib
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
from ccsn_tf.data.prepare.shards import fill_shards, record_pool
from ccsn_tf.data.records.folder import LocalFolder
from ccsn_tf.data.records.write import Shard
from ccsn_tf.errors import UserError


class BeamFolder:
    """A folder that Beam's file systems reach, with the methods of `LocalFolder`; `flag` is the one that names it."""

    scratch = None

    def __init__(self, path: str, flag: str = "record_dir"):
        self.path = path.rstrip("/")
        try:
            FileSystems.get_filesystem(self.path)
        except ValueError as error:
            raise UserError(f"--{flag}={path} is out of reach: {error}.") from None

    def __str__(self) -> str:
        return self.path

    def names(self) -> list[str]:
        """Of all files."""
        with self._errors_as_sentences():
            (found,) = FileSystems.match([f"{self.path}/*"])
            return [file.path.rpartition("/")[2] for file in found.metadata_list]

    def read(self, name: str) -> bytes | None:
        """A file's content, None if there is none."""
        with self._errors_as_sentences():
            if not FileSystems.exists(self._at(name)):
                return None
            with FileSystems.open(self._at(name), compression_type=CompressionTypes.UNCOMPRESSED) as file:
                return file.read()

    def size(self, name: str) -> int | None:
        """A file's size in bytes, None if there is none."""
        with self._errors_as_sentences():
            path = self._at(name)
            return FileSystems.get_filesystem(path).size(path) if FileSystems.exists(path) else None

    @contextlib.contextmanager
    def whole(self, name: str) -> Iterator[BinaryIO]:
        """Yields a file to write to, which has its name once the block has ended well."""
        path, beside = self._at(name), self._at(f".{random.getrandbits(63)}.{name}")
        with self._errors_as_sentences():
            try:
                with FileSystems.create(beside, compression_type=CompressionTypes.UNCOMPRESSED) as file:
                    yield file
                if FileSystems.exists(path):  # not all file systems write over it
                    FileSystems.delete([path])
                FileSystems.rename([beside], [path])
            finally:
                with contextlib.suppress(OSError):
                    if FileSystems.exists(beside):
                        FileSystems.delete([beside])

    def _at(self, name):
        return f"{self.path}/{name}"

    @contextlib.contextmanager
    def _errors_as_sentences(self):
        try:
            yield
        except OSError as error:  # which Beam's are, too
            raise UserError(f"{self.path} cannot be read or written: {_one_line(error)}.") from None


def open_folder(path: str, config: DataConfig, flag: str = "record_dir") -> LocalFolder | BeamFolder:
    """A folder that is mounted, or a URL.

    Args:
        path: where it is.
        config: whose runner and options are to be used.
        flag: that names the folder.

    Raises:
        UserError: bad --beam_args, or no file system for such a URL is installed.
    """
    FileSystems.set_options(beam_options(config))
    return BeamFolder(path, flag) if "://" in path else LocalFolder(path)


@contextlib.contextmanager
def errors_of_runner(config: DataConfig) -> Iterator[None]:
    """What a pipeline raises in the block, as a UserError: ours as it was, others in a sentence."""
    try:
        yield
    except Exception as error:
        ours = re.search(r"UserError: (.*?)(?: \[while running|$)", str(error), re.MULTILINE)
        said = ours.group(1) if ours else f"{type(error).__name__}: {_one_line(error)}"
        raise UserError(f"--runner={config.runner} ended: {said}") from error


def beam_options(config: DataConfig) -> PipelineOptions:
    """Those of --runner, --workers and --beam_args.

    Raises:
        UserError: they are not understood.
    """
    flags = [f"--runner={config.runner}"]
    if config.runner == "DirectRunner":
        flags += ["--direct_running_mode=multi_processing", f"--direct_num_workers={config.workers}"]
        flags += ["--default_sdk_harness_log_level=ERROR"]
    complaints = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaints):
            options = PipelineOptions(flags + shlex.split(config.beam_args))
            known, given = (options.get_all_options(retain_unknown_options=unknown) for unknown in (False, True))
    except (SystemExit, ValueError) as error:
        reason = complaints.getvalue().strip().rpartition("error: ")[2] or error
        raise UserError(f"--beam_args={config.beam_args} is not understood: {_one_line(reason)}.") from None
    if given.keys() - known.keys():
        raise UserError(f"--beam_args names {min(given.keys() - known.keys())}, which Apache Beam does not know.")
    return options


def _one_line(message):
    return " ".join(str(message).split()).rstrip(".")


class _WriteShard(beam.DoFn):
    """Writes a shard; its clips are made in a process of their own, as on one machine, and may kill it or hang."""

    def __init__(self, folder, config, min_fields):
        self._folder, self._config, self._min_fields = folder, config, min_fields

    def setup(self):
        self._pool = record_pool(self._config, self._min_fields, 1)

    def process(self, shard):
        fill_shards(self._folder, [shard], self._pool)
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
