import io
import re

import pytest

from ccsn_tf import progress
from ccsn_tf.progress import Progress, clock


@pytest.fixture
def at(monkeypatch):
    """Sets the time."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def set_to(seconds):
        now[0] = 100.0 + seconds

    return set_to


def test_clock():
    times = {0: "0:00", 59.6: "1:00", 75: "1:15", 3599.7: "1:00:00", 36125: "10:02:05"}
    assert {seconds: clock(seconds) for seconds in times} == times


def test_log_gets_the_first_the_last_and_a_line_now_and_then(at):
    stream, notes = io.StringIO(), []
    show = Progress("prepare", "clips", stream)
    for done in range(60, 101):  # what was there already is not in the rate
        at((done - 60) / 2)
        show(done, 100, lambda: notes.append("made") or "loss 0.5")  # made only where it is shown
    assert stream.getvalue().splitlines() == [
        "prepare  60 % 60/100 clips, 0.0 clips/s, 0:00 taken, loss 0.5",
        "prepare  80 % 80/100 clips, 2.0 clips/s, 0:10 left, loss 0.5",
        "prepare 100 % 100/100 clips, 2.0 clips/s, 0:20 taken, loss 0.5",
    ]
    assert len(notes) == 3


def test_terminal_redraws_one_line(at):
    stream = io.StringIO()
    stream.isatty = lambda: True
    show = Progress("epoch 1", "steps", stream)
    for done in range(5):
        at(done)
        show(done, 4)
    text = stream.getvalue()
    assert text.count("\n") == 1 and text.endswith("\n")
    assert len(re.findall("\r\x1b\\[K", text)) == 5


def test_nothing_to_do_is_said_once_on_standard_error(capsys):
    show = Progress("prepare", "clips")
    for _ in range(2):
        show(0, 0)
    captured = capsys.readouterr()
    assert captured.err == "prepare 100 % 0/0 clips, 0.0 clips/s, 0:00 taken\n" and not captured.out
