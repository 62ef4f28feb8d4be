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
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator

from ccsn_tf.data.prepare.worker import LENGTH_BYTES, send
from ccsn_tf.errors import UserError

_TICK = 0.5  # seconds between two looks at silent workers
_START_SECONDS = 120.0  # to load the function's modules, on a busy machine or from a slow disk
_MOST_FAILED_STARTS = 3
_AHEAD = 4  # tasks a worker that may be begun after the one whose turn it is
_CHUNK = 1 << 18  # more than a socket holds


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

    def run(
        self, tasks: Iterable[tuple], *, ordered: bool = False, on_beat: Callable[[int], None] = lambda count: None
    ) -> Iterator[Outcome]:
        """Yields the outcome of every task, as they are completed or in the order of the tasks.

        `tasks` is read as workers become free, and a worker that has ended a task waits until its outcome is taken:
        memory does not depend on the number of tasks. With `ordered`, outcomes wait here for their turn, `_AHEAD` a
        worker at most.

        Args:
            tasks: the arguments of each call.
            ordered: whether outcomes come in the order of the tasks.
            on_beat: called with what `beat` was called with, several times a second.

        Raises:
            UserError: worker processes do not start.
        """
        tasks, waiting, begun, turn = enumerate(tasks), {}, 0, 0
        finished, task = [], next(tasks, None)
        try:
            while True:
                while task and self._has_room() and (not ordered or begun - turn < _AHEAD * self._most):
                    self._give(task)
                    begun, task = begun + 1, next(tasks, None)
                waiting.update((outcome.index, outcome) for outcome in finished)
                while waiting and (not ordered or turn in waiting):
                    yield waiting.pop(turn if ordered else next(iter(waiting)))
                    turn += 1
                if turn == begun and not task:
                    return
                finished = self._listen(on_beat)
        finally:
            for worker in [worker for worker in self._workers if worker.task]:
                self._end(worker)  # nobody waits for it any more

    def _has_room(self):
        return len(self._workers) < self._most or any(not worker.task for worker in self._workers)

    def _give(self, task):
        for worker in self._workers:
            if not worker.task:
                try:
                    return worker.give(task)
                except OSError:  # it died while it was idle
                    self._end(worker)
                    break
        return self._start(task)

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
                for kind, value in worker.receive() if worker in heard else ():
                    if kind == "beat":
                        on_beat(value)
                    elif kind == "ready":
                        worker.greet()
                    elif kind == "begun":
                        self._failed_starts, worker.begun = 0, True
                    elif worker.ready:
                        outcomes.append(Outcome(worker.task[0], **{kind: value}))
                        worker.task = None
                    else:
                        raise WorkerLostError(f"{type(value).__name__}: {value}")
                if worker.task and worker.silent > (self._stall_seconds if worker.ready else _START_SECONDS):
                    raise WorkerLostError(f"no progress for {self._stall_seconds:g} s (--stall_seconds)")
            except (OSError, EOFError, WorkerLostError) as lost:
                self._end(worker)
                reason = str(lost) if isinstance(lost, WorkerLostError) else worker.cause_of_death()
                outcomes += self._without(worker, reason)
        return outcomes

    def _without(self, worker, reason):
        """What becomes of the task of a worker that is no more: it is lost if it was begun, else another has it."""
        if worker.begun:
            return [Outcome(worker.task[0], error=WorkerLostError(reason))] if worker.task else []
        self._failed_starts += 1
        if self._failed_starts == _MOST_FAILED_STARTS:
            raise UserError(
                f"Worker processes end as they start ({reason}): install the package again, or free memory, and run "
                "the same command again."
            )
        self._start(worker.task)
        return []


class _Worker:
    """A process, the socket to it, and the task that it has: (index, arguments), or None."""

    def __init__(self, function, task, timeout):
        self.task, self.ready, self.begun, self.silent, self._received = task, False, False, 0.0, bytearray()
        with contextlib.ExitStack() as undo:
            self.connection, theirs = map(undo.enter_context, socket.socketpair())
            self.connection.settimeout(timeout)
            with _interrupts_held_back():
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "ccsn_tf.data.prepare.worker", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    env=_environment(),
                )
            undo.pop_all()
        theirs.close()
        with contextlib.suppress(OSError):  # it has died already, as will be heard
            send(self.connection, function)

    def greet(self):
        self.ready = True
        self.give(self.task)

    def give(self, task):
        self.task, self.begun, self.silent = task, False, 0.0
        send(self.connection, pickle.dumps(task[1]))

    def receive(self):
        """Messages that have arrived whole."""
        chunk = self.connection.recv(_CHUNK)
        if not chunk:
            raise EOFError
        self._received += chunk
        messages = []
        while len(self._received) >= LENGTH_BYTES:
            end = LENGTH_BYTES + int.from_bytes(self._received[:LENGTH_BYTES], "little")
            if len(self._received) < end:
                break
            with memoryview(self._received) as view, view[LENGTH_BYTES:end] as content:
                messages.append(pickle.loads(content))
            del self._received[:end]
        return messages

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


@contextlib.contextmanager
def _interrupts_held_back():
    """Ctrl-C reaches every process of a terminal; those started meanwhile leave it to this one to say what happens."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _environment():
    """This process's, with its module path; one thread for each process, since the processes fill the cores."""
    path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
    threads = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    return {**os.environ, "PYTHONPATH": path, **dict.fromkeys(threads, "1")}


def num_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
