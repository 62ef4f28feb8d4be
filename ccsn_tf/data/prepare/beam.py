"""Records by Apache Beam: its options, its file systems, its errors in a sentence.

Every machine needs this package and the videos under the same path; what is written goes to a disk that all of them
mount, or to where Beam's file systems reach (gs://, s3://, hdfs://).
"""

from __future__ import annotations

import contextlib
import io
import pathlib
import pickle
import random
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

import apache_beam as beam
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from ccsn_tf.config import DataConfig
from ccsn_tf.data.datasets import Clip
from ccsn_tf.data.prepare.encode import result_of
from ccsn_tf.data.prepare.local import Results, record_pool
from ccsn_tf.data.records.record import record_file
from ccsn_tf.errors import UserError
from ccsn_tf.files import LocalFolder

_RESULTS = ".results"  # of the last pipeline, for the process that started it


class BeamFolder:
    """A folder that Beam's file systems reach, with the methods of `LocalFolder`."""

    def __init__(self, path: str):
        self.path = path.rstrip("/")
        try:
            FileSystems.get_filesystem(self.path)
        except ValueError as error:
            raise UserError(f"--record_dir={path} is out of reach: {error}.") from None

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

    def sizes(self, below: str) -> dict[str, int]:
        """{name: bytes} of the files at any depth below a folder of this one."""
        with self._errors_as_sentences():
            (found,) = FileSystems.match([self._at(f"{below}/**")])
            return {below + file.path.rpartition(f"/{below}")[2]: file.size_in_bytes for file in found.metadata_list}

    @contextlib.contextmanager
    def whole(self, name: str) -> Iterator[BinaryIO]:
        """Yields a file to write to, which has its name once the block has ended well."""
        path = self._at(name)
        place, _, base = path.rpartition("/")
        beside = f"{place}/.{random.getrandbits(63)}.{base}"
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


def open_folder(path: str, config: DataConfig) -> LocalFolder | BeamFolder:
    """A folder that is mounted, or a URL.

    Args:
        path: where it is.
        config: whose runner and options are to be used.

    Raises:
        UserError: bad --beam_args, or no file system for such a URL is installed.
    """
    FileSystems.set_options(beam_options(config))
    return BeamFolder(path) if "://" in path else LocalFolder(path)


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


class _WriteRecord(beam.DoFn):
    """Writes a clip's record, in a process of its own, as on one machine, which it may kill or make hang."""

    def __init__(self, folder, config, min_fields):
        self._folder, self._config, self._min_fields = folder, config, min_fields

    def setup(self):
        self._pool = record_pool(self._config, self._min_fields, 1)

    def process(self, clip):
        name = record_file(clip.name)
        if isinstance(self._folder, LocalFolder):
            yield clip.name, self._write(clip, self._folder.path / name)
            return
        with tempfile.TemporaryDirectory() as scratch:
            path, content = pathlib.Path(scratch, "record.zip"), self._folder.read(name)
            if content:  # of a preparation that was killed
                path.write_bytes(content)
            result = self._write(clip, path)
            if path.exists() and path.read_bytes() != content:
                with path.open("rb") as record, self._folder.whole(name) as file:
                    shutil.copyfileobj(record, file)
            yield clip.name, result

    def _write(self, clip, path):
        (outcome,) = self._pool.run([(clip, str(path))])
        return result_of(outcome, clip)

    def teardown(self):
        self._pool.close()


def _note(results, folder):
    with folder.whole(_RESULTS) as file:
        pickle.dump(dict(results), file)


def write_records(
    folder: LocalFolder | BeamFolder,
    clips: Sequence[Clip],
    config: DataConfig,
    min_fields: int,
    progress: Callable[[int, int], None],
) -> Results:
    """Runs the pipeline, to its end.

    Args:
        progress: called at the end: runners have ways of their own to show how far they are.

    Raises:
        UserError: bad options, or the runner gives up; the message says what it said.
    """
    with errors_of_runner(config), beam.Pipeline(options=beam_options(config)) as pipeline:
        listed = pipeline | beam.Create(list(clips)) | beam.Reshuffle()  # else one worker would have them all
        results = listed | beam.ParDo(_WriteRecord(folder, config, min_fields))
        _ = results | beam.combiners.ToList() | beam.Map(_note, folder)
    progress(len(clips), 0)
    return pickle.loads(folder.read(_RESULTS))
