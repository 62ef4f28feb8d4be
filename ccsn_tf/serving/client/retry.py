"""Calls that may fail on the way: what is tried again, how often, and until when."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

# The request did not reach a model, or was turned away before it ran. To classify is to change nothing, so even a call
# whose answer was lost on the way back may be repeated. Everything else would fail again.
RETRIED = ("UNAVAILABLE", "RESOURCE_EXHAUSTED")

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0


class StatusError(Exception):
    """A call that failed: `code`, a canonical status name such as "UNAVAILABLE", and `message`."""

    def __init__(self, code: str, message: str):
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


def persist(call: Callable[[float], Result], timeout: float, attempts: int) -> Result:
    """Calls until it succeeds, fails for good, or attempts or time run out.

    Pauses double from 0.1 s to 2 s; each is shortened by a random half, so that callers who failed together do not
    come back together.

    Args:
        call: called with the seconds that are left; raises `StatusError`.
        timeout: seconds, pauses included.
        attempts: at most so many calls.

    Raises:
        StatusError: of the last attempt.
    """
    end = time.monotonic() + timeout
    for attempt in range(1, attempts + 1):
        try:
            return call(end - time.monotonic())
        except StatusError as failure:
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0)
            late = time.monotonic() + pause >= end
            if failure.code not in RETRIED or attempt == attempts or late:
                raise
            time.sleep(pause)
    raise ValueError(f"attempts must be at least 1. Received: attempts={attempts}")
