"""Work for every core, in processes that may die or hang without taking the program with them.

The processes load what their function needs and nothing else: no TensorFlow, and none of the script that started them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pickle
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection

from ccsn_tf.errors import UserError

_TICK = 0.5  # seconds between two looks at silent workers
_START_SECONDS = 120.0  # to load the function's modules, on a busy machine or from a slow disk
_MOST_FAILED_STARTS = 3


class WorkerLostError(Exception):
    """The process that worked on a task died, or was ended because it did not get on; the message says which."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of task number `index`: the `value` that the function returned, or the `error` that it raised.

    The error is a `WorkerLostError` where the process did not live to say more.
    """

    index: int
    value: object = None
    error: Exception | None = None

    def why(self, name: str) -> str:
        """Why the task `name` has no value, in a sentence: what befell its process, or that it met a defect."""
        if isinstance(self.error, WorkerLostError):
            return f"{name}: {self.error}"
        first_line = str(self.error).partition("\n")[0]
        return f"{name}: {type(self.error).__name__}: {first_line} (a defect, please report it)"


class WorkerPool:
    """Calls a function with one tuple of arguments after the other, in processes of its own.

    Args:
        function: of a module, or a partial of one. It is called with the arguments of a task and with `beat`, which
            it calls now and then with how much it has done since the last time, say frames.
        workers: how many processes; 0: one a core. They start when there is work, and stay.
        stall_seconds: a worker that has not called `beat` for as long is ended, and its task is lost.
    """

    def __init__(self, function: Callable, workers: int = 0, stall_seconds: float = 60.0):
        self._function = pickle.dumps(function)
        self._most = workers or num_cores()
        self._stall_seconds = stall_seconds
        self._workers, self._selector = [], selectors.DefaultSelector()
        self._failed_starts = 0  # since the last that did not fail

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Ends the processes, whatever they are doing."""
        for worker in list(self._workers):
            self._end(worker)
        self._selector.close()

    def run(self, tasks: Iterable[tuple], *, on_beat: Callable[[int], None] = lambda count: None) -> Iterator[Outcome]:
        """Yields the outcome of every task, as they are completed.

        `tasks` is read as workers become free, and a worker that has ended a task waits until its outcome is taken:
        memory does not depend on the number of tasks.

        Args:
            tasks: the arguments of each call.
            on_beat: called with what `beat` was called with, several times a second.

        Raises:
            UserError: worker processes do not start.
        """
        tasks, finished = enumerate(tasks), []
        task = next(tasks, None)
        try:
            while True:
                while task and self._give(task):
                    task = next(tasks, None)
                yield from finished
                if not task and not any(worker.task for worker in self._workers):
                    return
                finished = self._listen(on_beat)
        finally:
            for worker in [worker for worker in self._workers if worker.task]:
                self._end(worker)  # nobody waits for it any more

    def _give(self, task):
        """Whether there was a worker for the task."""
        for worker in [worker for worker in self._workers if not worker.task]:
            try:
                worker.give(task)
                return True
            except OSError:  # it died while it was idle
                self._end(worker)
        if len(self._workers) == self._most:
            return False
        self._start(task)
        return True

    def _start(self, task):
        try:
            worker = _Worker(self._function, task, self._stall_seconds)
        except OSError as error:
            raise UserError(
                f"A worker process cannot be started ({error.strerror}): close other programs, or lower --workers."
            ) from None
        self._workers.append(worker)
        self._selector.register(worker.connection, selectors.EVENT_READ, worker)

    def _end(self, worker):
        self._workers.remove(worker)
        self._selector.unregister(worker.connection)
        worker.end()

    def _listen(self, on_beat):
        """Waits for news from the workers, for a moment; returns the outcomes among it."""
        begun = time.monotonic()
        heard = {key.data for key, _ in self._selector.select(_TICK)}
        listened = min(time.monotonic() - begun, _TICK)  # no more: this process may have been suspended itself
        outcomes = []
        for worker in list(self._workers):
            worker.silent = 0.0 if worker in heard else worker.silent + listened
            try:
                kind, value = worker.connection.recv() if worker in heard else ("", None)
                if kind == "beat":
                    on_beat(value)
                elif kind == "begun":
                    self._failed_starts, worker.begun = 0, True
                elif kind and not worker.begun:
                    raise WorkerLostError(f"{type(value).__name__}: {value}")
                elif kind:
                    outcomes.append(Outcome(worker.task[0], **{kind: value}))
                    worker.task, worker.begun = None, False
                elif worker.task and worker.silent > (self._stall_seconds if worker.begun else _START_SECONDS):
                    raise TimeoutError
            except (OSError, EOFError, WorkerLostError) as lost:
                self._end(worker)
                outcomes += self._without(worker, self._reason(worker, lost))
        return outcomes

    def _reason(self, worker, lost):
        if isinstance(lost, TimeoutError | BlockingIOError):  # silent, or in the midst of what it said
            return f"no progress for {self._stall_seconds:g} s (--stall_seconds)"
        return str(lost) if isinstance(lost, WorkerLostError) else worker.cause_of_death()

    def _without(self, worker, reason):
        """What becomes of the task of a worker that is no more: it is lost if it was begun, else another has it."""
        if not worker.task:
            return []
        if worker.begun:
            return [Outcome(worker.task[0], error=WorkerLostError(reason))]
        self._failed_starts += 1
        if self._failed_starts == _MOST_FAILED_STARTS:
            raise UserError(
                f"Worker processes end as they start ({reason}): install the package again, or free memory, and run "
                "the same command again."
            )
        self._start(worker.task)
        return []


class _Worker:
    """A process, the connection to it, and the task that it has: (index, arguments), or None."""

    def __init__(self, function, task, stall_seconds):
        self.task, self.begun, self.silent = task, False, 0.0
        ours, theirs = socket.socketpair()
        seconds = struct.pack("ll", *divmod(round(1e6 * stall_seconds), 10**6))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):  # else one that stops in mid-message would stop us
            ours.setsockopt(socket.SOL_SOCKET, option, seconds)
        with theirs, contextlib.ExitStack() as undo:
            self.connection = undo.enter_context(Connection(ours.detach()))
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "ccsn_tf.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=_environment(),
                process_group=0,  # Ctrl-C reaches every process of the terminal's: this one is to say what happens
            )
            undo.pop_all()
        with contextlib.suppress(OSError):  # it has died already, as will be heard
            self.connection.send_bytes(function)
            self.give(task)

    def give(self, task):
        self.task, self.silent = task, 0.0
        self.connection.send(task[1])

    def end(self):
        self._process.kill()
        self.connection.close()
        with contextlib.suppress(subprocess.TimeoutExpired):  # it may hang in the kernel, on a disk that is gone
            self._process.wait(timeout=5)

    def cause_of_death(self):
        """Of a worker that has ended."""
        status = self._process.returncode
        if status is None or status >= 0:
            return f"its process ended with status {status}"
        name = next((known.name for known in signal.Signals if known == -status), f"signal {-status}")
        return f"its process was killed by {name}" + (", as when memory runs out" if name == "SIGKILL" else "")


def _environment():
    """This process's, with its module path; one thread for each process, since the processes fill the cores."""
    path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
    threads = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    return {**os.environ, "PYTHONPATH": path, **dict.fromkeys(threads, "1")}


def num_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
