"""What is tried again, how often, and until when."""

import pytest

from ccsn_tf.serving.client import calls
from ccsn_tf.serving.client.calls import LONGEST_PAUSE, StatusError, call_with_retries


class Clock:
    """Time that passes only in pauses and calls."""

    def __init__(self, monkeypatch):
        self.now, self.pauses = 100.0, []
        monkeypatch.setattr(calls.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(calls.time, "sleep", self.sleep)

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds

    def persist(self, code, failures, timeout, attempts, takes=0.0):
        """What `call_with_retries` makes of a call that fails so often, then answers with the seconds it was given."""
        left = [code] * failures
        self.pauses = []

        def call(timeout):
            self.now += min(takes, timeout)
            if left:
                raise StatusError(left.pop(), "no")
            return timeout

        return call_with_retries(call, timeout, attempts)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_goes_on_until_there_is_an_answer(clock):
    code = "RESOURCE_EXHAUSTED"
    left = clock.persist(code, 4, timeout=30, attempts=5)
    assert left == pytest.approx(30 - sum(clock.pauses))
    for pause, longest in zip(clock.pauses, (0.1, 0.2, 0.4, 0.8), strict=True):
        assert longest / 2 <= pause <= longest
    first = clock.pauses
    clock.persist(code, 4, timeout=30, attempts=5)
    assert clock.pauses != first, "callers come back together"
    clock.persist(code, 12, timeout=100, attempts=20)
    assert max(clock.pauses) <= LONGEST_PAUSE and min(clock.pauses[6:]) >= LONGEST_PAUSE / 2


def test_attempts_and_time_have_an_end_and_other_failures_are_final(clock):
    for code in ("INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "INTERNAL"):
        with pytest.raises(StatusError, match=code):
            clock.persist(code, 1, timeout=30, attempts=5)
        assert clock.pauses == []
    with pytest.raises(StatusError):
        clock.persist("UNAVAILABLE", 3, timeout=30, attempts=3)
    assert len(clock.pauses) == 2
    begun = clock.now
    with pytest.raises(StatusError, match="UNAVAILABLE"):
        clock.persist("UNAVAILABLE", 9, timeout=2, attempts=9, takes=0.5)
    assert clock.now <= begun + 2
