"""Processes of the tests, as /proc shows them, prepare.py as one of them, and a limit of this one."""

import contextlib
import pathlib
import resource
import sys
import time

import pytest

SCRIPTS = pathlib.Path(__file__).parents[1] / "scripts"

needs_proc = pytest.mark.skipif(not pathlib.Path("/proc/self/stat").exists(), reason="needs /proc")


def prepare_command(config):
    """The command that prepares with a DataConfig; without the settings that no test of processes changes."""
    names = ["dataset", "video_dir", "record_dir", "flow", "dis_preset", "workers", "stall_seconds"]
    flags = [f"--{name}={getattr(config, name)}" for name in names]
    return [sys.executable, str(SCRIPTS / "prepare.py"), *flags]


def is_alive(pid):
    """Whether a process runs: it exists and is no zombie."""
    return _stat(pid)[:1] not in ([], ["Z"])


def is_worker(pid):
    """Whether a process belongs to a `WorkerPool`."""
    try:
        return b"ccsn_tf.worker" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def processes_of(session):
    """Ids of the processes of a session that run."""
    stats = {int(path.name): _stat(path.name) for path in pathlib.Path("/proc").glob("[0-9]*")}
    return [pid for pid, stat in stats.items() if stat[3:4] == [str(session)] and stat[0] != "Z"]


def _stat(pid):
    """State, parent, group, session and more; nothing if there is no such process."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []


@contextlib.contextmanager
def full_disk(size):
    """Files of this process, and of those that it starts, cannot grow beyond so many bytes, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def wait_until(condition, seconds=60):
    """Waits until a condition holds, and fails if that takes too long."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
