"""Many clips by Apache Beam, on as many machines as its runner has: an element is a part of the output.

The model is loaded once a process. A part is there whole or not at all; one that a lost machine had begun is begun
again. What is done is not done again, whether Beam or this machine alone has done it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import apache_beam as beam
from apache_beam.utils.shared import Shared

from ccsn_tf.config import DataConfig
from ccsn_tf.data.prepare.beam import beam_options, errors_of_runner, open_folder
from ccsn_tf.data.views import Stopwatch
from ccsn_tf.files import alone_in
from ccsn_tf.serving.batch.backends import Exported, ModelThread
from ccsn_tf.serving.batch.output import Output, to_bytes
from ccsn_tf.serving.batch.plan import BatchPlan, BatchSettings, Items
from ccsn_tf.serving.batch.run import predictions, summary_of


class _PredictPart(beam.DoFn):
    """Predicts the clips of a part; their input is made in a process of its own, which they may kill or make hang."""

    def __init__(self, folder, plan, shared):
        self._folder, self._plan, self._shared = folder, plan, shared

    def setup(self):
        self._model = self._shared.acquire(lambda: ModelThread(self._plan.export))
        self._pool = self._plan.pool(1)

    def process(self, part):
        name, items = part
        rows = []
        for more in predictions(items, self._plan, self._pool, self._model, Stopwatch()):
            rows += more
        with self._folder.whole(name) as file:
            file.write(to_bytes(rows))
        yield name

    def teardown(self):
        self._pool.close()


def predict_by_beam(
    items: Items,
    export: Exported,
    output_dir: str,
    settings: BatchSettings,
    runner: DataConfig,
    progress: Callable[[int, int, int], None] = lambda done, total, failed: None,
) -> dict:
    """Predicts the clips that have no row yet in `output_dir`, to its end.

    Args:
        items, export, settings: as of `batch.predict_all`; other machines find them under the same path.
        output_dir: a folder that every machine mounts, or a URL that Beam's file systems reach.
        runner: its `runner`, `beam_args` and `workers`.
        progress: called at both ends: runners have ways of their own to show how far they are.

    Returns:
        As `batch.predict_all`, without the seconds of stages.

    Raises:
        UserError: as `batch.predict_all`; or bad options, or the runner gives up; the message says what it said.
    """
    plan, folder = BatchPlan(export, settings, items.source), open_folder(output_dir, runner, "output_dir")
    with alone_in(folder):
        output = Output(folder, plan.about)
        missing = [item for item in items.items if item.name not in output.done]
        progress(*output.counts(items.items))
        begun, size = time.perf_counter(), settings.rows_a_part
        parts = [missing[start : start + size] for start in range(0, len(missing), size)]
        if missing:
            named = list(zip(output.part_names(len(parts)), parts, strict=True))
            with errors_of_runner(runner), beam.Pipeline(options=beam_options(runner)) as pipeline:
                listed = pipeline | beam.Create(named) | beam.Reshuffle()  # else one worker would have them all
                _ = listed | beam.ParDo(_PredictPart(folder, plan, Shared()))
            output = Output(folder, plan.about)
        progress(*output.counts(items.items))
        summary = summary_of(output, items, plan, len(missing), time.perf_counter() - begun, {})
        if missing:
            output.finish(summary)
    return summary
