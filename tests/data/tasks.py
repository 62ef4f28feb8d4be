"""What the tests have worker processes do."""

import os
import signal
import threading
import time


def double(number, beat):
    beat()
    return 2 * number


def sleep(number, seconds, beat):
    """Sleeps, with a beat at least every 10 ms."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)
        beat()
    return number


def silent(number, seconds, beat):
    time.sleep(seconds)
    return number


def fail(error, beat):
    raise error


class AwkwardError(Exception):
    """Cannot be pickled and read back."""

    def __init__(self, one, two):
        super().__init__("awkward")


def fail_awkwardly(beat):
    raise AwkwardError(1, 2)


def die(how, beat):
    beat(3)
    if isinstance(how, signal.Signals):
        os.kill(os.getpid(), how)
        time.sleep(60)
    os._exit(how)


def anything(name, arguments, beat):
    return globals()[name](*arguments, beat)


def echo(content, beat):
    return content, os.getpid(), threading.active_count()
