"""What tests have worker processes do."""

import dataclasses
import os
import signal
import sys
import time


def anything(name, *arguments):
    """Calls one of the functions below; the last argument is the pool's `beat`."""
    return globals()[name](*arguments)


def double(number, beat):
    beat()
    return 2 * number


def steady(number, seconds, beat):
    """Takes its time, and shows that it gets on."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)
        beat()
    return number


def silent(number, seconds, beat):
    time.sleep(seconds)
    return number


def die(how, beat):
    if isinstance(how, signal.Signals):
        os.kill(os.getpid(), how)
        time.sleep(60)
    os._exit(how)


def fail(error, beat):
    raise error


class AwkwardError(Exception):
    """Can be pickled, but not read back."""

    def __init__(self, one, two):
        super().__init__("awkward")


def fail_awkwardly(beat):
    raise AwkwardError(1, 2)


def unpicklable(beat):
    return lambda: None


def stop_in_mid_message(beat):
    os.write(beat._connection.fileno(), b"\x00\x00\x00\x64")  # a hundred bytes are announced
    time.sleep(1000)


def process(beat):
    return os.getpid()


def modules(beat):
    return sorted(sys.modules)


@dataclasses.dataclass(frozen=True)
class Deadly:
    """A clip of `serving.batch` that ends its worker process, or makes it hang."""

    name: str
    how: str

    def snippets(self, form, config, num_segments, beat):
        if self.how == "hangs":
            time.sleep(600)
        if self.how == "raises":
            raise KeyError("no such thing")
        return die(signal.SIGSEGV, beat)
