"""How scripts start and end: TensorFlow without its notices; quietly, where nobody reads on or they are told to end."""

import contextlib
import errno
import importlib.util
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator

from ccsn_tf.errors import UserError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_CUT_OFF = 128 + signal.SIGPIPE  # the status with which a shell reports it
_LOCK = threading.Lock()  # two threads that turned file descriptor 2 away would put back one that leads nowhere


def load_tensorflow() -> None:
    """Loads TensorFlow, without its notices where TF_CPP_MIN_LOG_LEVEL is 3, as scripts set it and hand it on.

    To be called before any module that imports it. Scripts that do without TensorFlow start in a tenth of the time.
    Where it is not installed, as of a client, the script ends in a sentence.
    """
    if importlib.util.find_spec("tensorflow") is None:
        script = os.path.basename(sys.argv[0]).removesuffix(".py")
        sys.exit(f"{script}: TensorFlow is not installed: pip install -c constraints.txt -e '.[train,export]'.")
    with _LOCK:
        if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "3" and "tensorflow" not in sys.modules:
            with _without_notices():
                import tensorflow as tf

                tf.config.list_physical_devices()


@contextlib.contextmanager
def _without_notices():
    """Sends file descriptor 2 nowhere: TensorFlow's libraries write there before any log level can be set."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def open_standard_streams() -> None:
    """Opens to nowhere those that are closed, or the next file that is opened would receive what is printed.

    What the others' encoding does not have is written as its number.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, "r" if name == "stdin" else "w", closefd=False))
        elif name != "stdin" and hasattr(getattr(sys, name), "reconfigure"):
            getattr(sys, name).reconfigure(errors="backslashreplace")


def raise_when_told_to_end() -> None:
    """Makes SIGINT and SIGTERM KeyboardInterrupts, so that what is half done is cleared up; a second one ends at once.

    Those that are ignored stay so, as `nohup` and shells in the background want it.
    """

    def interrupt(number, _):
        signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt(signal.Signals(number).name)

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, interrupt)


@contextlib.contextmanager
def quiet_when_cut_off() -> Iterator[None]:
    """Ends the script without a word where nobody reads its output any more, as behind `| head -1`.

    Raises:
        UserError: the output goes to a full disk.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        cut = [stream for stream in (sys.stdout, sys.stderr) if _is_cut_off(stream)]
        if not cut:
            raise
        _send_nowhere(cut)
        sys.exit(_CUT_OFF)
    except OSError as error:
        if error.errno not in _FULL or error.filename:
            raise
        _send_nowhere([stream for stream in (sys.stdout, sys.stderr) if not _can_be_written(stream)])
        raise UserError(f"the output cannot be written ({error.strerror}): free space, or send it elsewhere.") from None


def _send_nowhere(streams):
    """What is left in their buffers would be tried again as Python ends."""
    for stream in streams:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _can_be_written(stream):
    with contextlib.suppress(OSError):
        stream.flush()
        return True
    return False


def _is_cut_off(stream):
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return bool(poll.poll(0))
