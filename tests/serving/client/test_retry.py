"""What is tried again, how often, and until when."""

import pytest

from ccsn_tf.serving.client import client as retry
from ccsn_tf.serving.client.client import persist
from ccsn_tf.serving.client.transport import StatusError


class Clock:
    """Time that passes only in pauses and calls."""

    def __init__(self, monkeypatch):
        self.now, self.pauses = 100.0, []
        monkeypatch.setattr(retry.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(retry.time, "sleep", self.sleep)

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def failing(codes, clock=None, takes=0.0):
    """A call that fails with each of the codes in turn, then answers with the seconds it was given."""
    left = list(codes)

    def call(timeout):
        if clock:
            clock.now += min(takes, timeout)
        if left:
            raise StatusError(left.pop(0), "no")
        return timeout

    return call


@pytest.mark.parametrize("code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED"])
def test_goes_on_until_there_is_an_answer(clock, code):
    left = persist(failing([code] * 4), timeout=30, attempts=5)
    assert left == pytest.approx(30 - sum(clock.pauses))
    for pause, longest in zip(clock.pauses, (0.1, 0.2, 0.4, 0.8), strict=True):
        assert longest / 2 <= pause <= longest


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "INTERNAL", "ABORTED"])
def test_other_failures_are_final(clock, code):
    with pytest.raises(StatusError) as caught:
        persist(failing([code]), timeout=30, attempts=5)
    assert caught.value.code == code and clock.pauses == []


def test_attempts_are_counted(clock):
    with pytest.raises(StatusError):
        persist(failing(["UNAVAILABLE"] * 3), timeout=30, attempts=3)
    assert len(clock.pauses) == 2


def test_pauses_have_a_limit(clock):
    persist(failing(["UNAVAILABLE"] * 12), timeout=100, attempts=20)
    assert max(clock.pauses) <= retry.LONGEST_PAUSE and min(clock.pauses[6:]) >= retry.LONGEST_PAUSE / 2


def test_no_pause_beyond_the_end(clock):
    with pytest.raises(StatusError, match="UNAVAILABLE"):
        persist(failing(["UNAVAILABLE"] * 9, clock, takes=0.5), timeout=2, attempts=9)
    assert clock.now <= 102


def test_callers_do_not_come_back_together(clock):
    persist(failing(["UNAVAILABLE"] * 4), timeout=30, attempts=5)
    first = list(clock.pauses)
    clock.pauses.clear()
    persist(failing(["UNAVAILABLE"] * 4), timeout=30, attempts=5)
    assert clock.pauses != first
