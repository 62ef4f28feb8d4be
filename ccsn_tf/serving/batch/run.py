"""Many clips through an exported model: worker processes make its input while it works on the batch before.

Killed at any moment and started again, it goes on where it stopped. A clip that cannot be used, that kills its worker
process or makes it hang gets a row that says why.
"""

from __future__ import annotations

import contextlib
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ccsn_tf.data.prepare.worker_pool import Outcome, WorkerPool, num_cores
from ccsn_tf.data.views import Stopwatch
from ccsn_tf.errors import UserError
from ccsn_tf.files import alone_in
from ccsn_tf.serving.batch.backends import Exported, ModelThread
from ccsn_tf.serving.batch.output import Output, failure
from ccsn_tf.serving.batch.plan import BatchPlan, BatchSettings, Items
from ccsn_tf.serving.client.clip_input import ClipInput, StoredRecord, VideoFile


def predict_all(
    items: Items,
    export: Exported,
    output_dir: str,
    settings: BatchSettings,
    progress: Callable[[int, int, int], None] = lambda done, total, failed: None,
) -> dict:
    """Predicts the clips that have no row yet in `output_dir`.

    Args:
        items: the clips.
        export: the model.
        output_dir: made if need be, see `Output`.
        settings: of the predictions.
        progress: called often, with (clips done, clips in all, those of them that have no prediction).

    Returns:
        The summary that about.json holds, too: `clips`, `predicted` and `failed` of all runs; of this one `now`, how
        many clips it did, `wall_seconds`, `seconds` {stage: seconds, of all processes together}, and `workers`.

    Raises:
        UserError: a mistake in the settings, another process is at work there, or what `Output` and `ModelThread` do
            not take.
    """
    if "://" in output_dir:
        raise UserError(f"--output_dir={output_dir} is no folder of this machine: name one.")
    plan = BatchPlan(export, settings, items.source)
    folder = pathlib.Path(output_dir)
    with alone_in(folder):
        output = Output(folder, plan.about)
        missing = [item for item in items.items if item.name not in output.done]
        there, total, failed = output.counts(items.items)
        progress(there, total, failed)
        watch, seconds = Stopwatch(), 0.0
        if missing:
            with contextlib.ExitStack() as stack:
                model = stack.enter_context(contextlib.closing(ModelThread(plan.export)))
                pool = stack.enter_context(plan.pool(settings.workers))
                begun = time.perf_counter()
                batches = _predictions(missing, plan, pool, model, watch, lambda _: progress(there, total, failed))
                for rows in stack.enter_context(contextlib.closing(batches)):
                    output.append(rows)
                    there, failed = there + len(rows), failed + sum("error" in row for row in rows)
                    progress(there, total, failed)
                seconds = time.perf_counter() - begun
            watch.add({"inference": model.seconds})
        summary = {
            "clips": total,
            "predicted": total - failed,
            "failed": failed,
            "now": len(missing),
            "batch_size": plan.settings.batch_size,
            "workers": settings.workers or num_cores(),
            "wall_seconds": seconds,
            "seconds": watch.seconds,
        }
        if missing:
            output.finish(summary)
    return summary


def _predictions(
    items: Sequence[VideoFile | StoredRecord],
    plan: BatchPlan,
    pool: WorkerPool,
    model: ModelThread,
    watch: Stopwatch,
    on_beat: Callable[[int], None],
) -> Iterator[list[dict]]:
    """Yields the rows of clips, about a batch at a time, each as soon as it is known.

    While the model works on one batch, the next is collected, and no more: memory does not depend on the number of
    clips, and a killed run has one batch of predictions to make again.

    Args:
        items: the clips.
        plan: from which `pool` was made, as `model` from its export.
        pool: of workers that make input.
        model: loaded.
        watch: receives the stages of the workers, and "full": seconds in which clips waited for the model.
        on_beat: called several times a second.
    """
    batch, running, rows = [], None, []
    for outcome in pool.run(((item,) for item in items), on_beat=on_beat):
        name = items[outcome.index].name
        if outcome.error is None:
            watch.add(outcome.value.seconds)
            batch.append((name, outcome.value))
        else:
            rows.append(failure(name, _reason(outcome, name)))
        if running and (running[1].done() or len(batch) == plan.settings.batch_size):
            rows += _finished(running, plan, watch)
            running = None
        if len(batch) == plan.settings.batch_size:
            running, batch = _begun(batch, model), []
        if rows and (not running or len(rows) >= plan.settings.batch_size):
            yield rows
            rows = []
    for last in (running, batch and _begun(batch, model)):
        if last:
            rows += _finished(last, plan, watch)
    if rows:
        yield rows


def _begun(batch: list[tuple[str, ClipInput]], model: ModelThread):
    """A batch that the model was given: (names, future of the scores)."""
    arrays = {name: np.stack([clip.arrays[name] for _, clip in batch]) for name in batch[0][1].arrays}
    return [name for name, _ in batch], model.submit(arrays)


def _finished(running, plan, watch):
    names, future = running
    with watch.stage("full"):
        scores = future.result()
    return [plan.row(name, values) for name, values in zip(names, scores, strict=True)]


def _reason(outcome: Outcome, name: str) -> str:
    """Why a clip has no input, in a sentence."""
    return str(outcome.error) if isinstance(outcome.error, UserError) else outcome.why(name)
