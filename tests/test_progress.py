import io
import re

import pytest

from ccsn_tf import progress
from ccsn_tf.progress import Progress, clock


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def at(monkeypatch):
    """Sets the time."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def set_to(seconds):
        now[0] = 100.0 + seconds

    return set_to


@pytest.mark.parametrize(
    "seconds, text",
    [(0, "0:00"), (0.6, "0:01"), (59.6, "1:00"), (75, "1:15"), (3599.7, "1:00:00"), (36125, "10:02:05")],
)
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_log_gets_the_first_the_last_and_a_line_now_and_then(at):
    stream = io.StringIO()
    show = Progress("prepare", "clips", stream)
    for done in range(60, 101):  # what was there already is not in the rate
        at((done - 60) / 2)
        show(done, 100)
    lines = stream.getvalue().splitlines()
    assert lines == [
        "prepare  60 % 60/100 clips, 0.0 clips/s, 0:00 taken",
        "prepare  80 % 80/100 clips, 2.0 clips/s, 0:10 left",
        "prepare 100 % 100/100 clips, 2.0 clips/s, 0:20 taken",
    ]


def test_terminal_redraws_one_line(at):
    stream = Terminal()
    show = Progress("epoch 1", "steps", stream)
    for done in range(5):
        at(done)
        show(done, 4)
    text = stream.getvalue()
    assert text.count("\n") == 1 and text.endswith("\n")
    assert len(re.findall("\r\x1b\\[K", text)) == 5


def test_note_is_made_only_when_shown(at):
    stream, made = io.StringIO(), []

    def note():
        made.append(1)
        return "loss 0.5"

    show = Progress("epoch 1", "steps", stream)
    for done in range(4):
        show(done, 5, note)
    show(5, 5, "loss 0.4")
    first, last = stream.getvalue().splitlines()
    assert len(made) == 1
    assert first.endswith(", loss 0.5") and last.endswith(", loss 0.4")


def test_nothing_to_do_is_said_once_on_standard_error(capsys):
    show = Progress("prepare", "clips")
    for _ in range(2):
        show(0, 0)
    captured = capsys.readouterr()
    assert captured.err == "prepare 100 % 0/0 clips, 0.0 clips/s, 0:00 taken\n" and not captured.out
