"""Where the time of a piece of work goes, stage by stage."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator


class Stopwatch:
    """Adds up the seconds of stages.

    Args:
        beat: to be called by the stages now and then, to show that the work gets on (see `WorkerPool`).

    Attributes:
        seconds: {stage: seconds so far}.
    """

    def __init__(self, beat: Callable[[], None] = lambda: None):
        self.beat, self.seconds = beat, {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts the block's time towards a stage, however it ends."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.add({name: time.perf_counter() - begun})

    def add(self, seconds: dict[str, float]) -> None:
        """Counts what another stopwatch has counted."""
        for name, more in seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + more
