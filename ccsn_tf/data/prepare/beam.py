"""Records by Apache Beam: its options, and its errors in a sentence.

Every machine needs this package, and videos and record folder under the same paths, as on a disk that all mount.
"""

import contextlib
import io
import pathlib
import pickle
import re
import shlex
from collections.abc import Callable, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from ccsn_tf.config import DataConfig
from ccsn_tf.data.datasets import Clip
from ccsn_tf.data.prepare.encode import Results, record_pool, result_of
from ccsn_tf.data.records.record import record_file
from ccsn_tf.errors import UserError
from ccsn_tf.files import whole_file

_RESULTS = ".results"  # of the last pipeline, for the process that started it


def write_records(
    folder: pathlib.Path,
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
    options = _options(config)
    try:
        with beam.Pipeline(options=options) as pipeline:
            listed = pipeline | beam.Create(list(clips)) | beam.Reshuffle()  # else one worker would have them all
            results = listed | beam.ParDo(_WriteRecord(folder, config, min_fields))
            _ = results | beam.combiners.ToList() | beam.Map(_note, folder)
    except Exception as error:
        ours = re.search(r"UserError: (.*?)(?: \[while running|$)", str(error), re.MULTILINE)
        said = ours.group(1) if ours else f"{type(error).__name__}: {_one_line(error)}"
        raise UserError(f"--runner={config.runner} ended: {said}") from error
    progress(len(clips), 0)
    return pickle.loads((folder / _RESULTS).read_bytes())


def _options(config):
    """Those of --runner, --workers and --beam_args. UserError: they are not understood."""
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
        (outcome,) = self._pool.run([(clip, str(self._folder / record_file(clip.name)))])
        yield clip.name, result_of(outcome, clip)

    def teardown(self):
        self._pool.close()


def _note(results, folder):
    with whole_file(folder / _RESULTS) as beside:
        beside.write_bytes(pickle.dumps(dict(results)))
