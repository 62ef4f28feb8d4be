import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import types

import pytest
import worker_tasks
from processes import is_alive, needs_proc, wait_until

from ccsn_tf.data.video import VideoError
from ccsn_tf.errors import UserError
from ccsn_tf.worker_pool import WorkerLostError, WorkerPool


@pytest.fixture
def pool():
    with WorkerPool(worker_tasks.anything, workers=2, stall_seconds=1.5) as pool:
        yield pool


def by_index(outcomes):
    outcomes = list(outcomes)
    found = {outcome.index: outcome for outcome in outcomes}
    assert len(found) == len(outcomes)
    return [found[index] for index in range(len(found))]


@pytest.mark.parametrize("workers, count", [(1, 0), (3, 40)])
def test_every_task_has_one_outcome(workers, count):
    with WorkerPool(worker_tasks.double, workers) as pool:
        outcomes = by_index(pool.run([(number,) for number in range(count)]))
    assert [outcome.value for outcome in outcomes] == [2 * number for number in range(count)]
    assert not any(outcome.error for outcome in outcomes)


def test_outcomes_come_as_they_are_completed_and_tasks_are_read_as_they_are_needed(pool):
    read, taken, most, last = 0, 0, 0, None

    def tasks():
        nonlocal read
        for number in range(40):
            read += 1
            yield ("steady", number, 0.4 if number == 37 else 0.0)

    for outcome in pool.run(tasks()):
        taken, last = taken + 1, outcome.index
        most = max(most, read - taken)
    assert taken == 40 and last == 37
    assert most <= 4  # one a worker, one in hand and an outcome that waits


def test_beats_are_summed_up(pool):
    counts = []
    outcomes = list(pool.run([("double", 1), ("steady", 1, 0.5), ("double", 2)], on_beat=counts.append))
    assert len(outcomes) == 3
    assert 10 < sum(counts) <= 52 and len(counts) < 12


def test_workers_that_die_are_replaced_and_their_tasks_lost(pool):
    tasks = [("die", signal.SIGSEGV), ("double", 1), ("die", 3), ("die", signal.SIGKILL), ("double", 2), ("double", 3)]
    outcomes = by_index(pool.run(tasks))
    assert [outcome.value for outcome in outcomes] == [None, 2, None, None, 4, 6]
    lost = [outcome.error for outcome in outcomes if outcome.error]
    assert all(isinstance(error, WorkerLostError) for error in lost)
    for error, reason in zip(lost, ("killed by SIGSEGV", "status 3", "SIGKILL, as when memory runs out"), strict=True):
        assert reason in str(error)


def test_workers_that_hang_are_replaced_and_their_tasks_lost(pool):
    begun = time.monotonic()
    tasks = [("silent", 0, 100), ("silent", 1, 0.5), ("steady", 2, 2.5), ("stop_in_mid_message",), ("double", 2)]
    outcomes = by_index(pool.run(tasks))
    assert time.monotonic() - begun < 20
    assert [outcome.value for outcome in outcomes] == [None, 1, 2, None, 4]
    for outcome in (outcomes[0], outcomes[3]):
        assert isinstance(outcome.error, WorkerLostError) and "--stall_seconds" in str(outcome.error)


def test_what_is_raised_comes_back_with_its_traceback(pool):
    outcomes = by_index(
        pool.run([("fail", VideoError("bad.avi is bad")), ("fail_awkwardly",), ("unpicklable",), ("double", 1)])
    )
    assert isinstance(outcomes[0].error, VideoError) and str(outcomes[0].error) == "bad.avi is bad"
    assert "worker_tasks.py" in outcomes[0].error.__notes__[0]
    assert isinstance(outcomes[1].error, RuntimeError) and str(outcomes[1].error) == "AwkwardError: awkward"
    assert "pickle" in str(outcomes[2].error)
    assert outcomes[3].value == 2


@needs_proc
def test_processes_stay_for_the_next_tasks_and_end_with_the_pool():
    with WorkerPool(worker_tasks.anything, 2) as pool:
        first = {outcome.value for outcome in pool.run([("process",)] * 20)}
        assert first == {outcome.value for outcome in pool.run([("process",)] * 20)}
        assert len(first) <= 2 and os.getpid() not in first and all(map(is_alive, first))
    assert not any(map(is_alive, first))


@needs_proc
def test_an_idle_worker_that_died_is_replaced(pool):
    (outcome,) = pool.run([("process",)])
    os.kill(outcome.value, signal.SIGKILL)
    wait_until(lambda: not is_alive(outcome.value))
    assert [outcome.value for outcome in pool.run([("double", 4)])] == [8]


@needs_proc
def test_a_task_that_its_worker_never_began_has_another(pool):
    (outcome,) = pool.run([("process",)])
    os.kill(outcome.value, signal.SIGSTOP)  # it can be sent a task, and does not look at it
    threading.Timer(0.5, os.kill, (outcome.value, signal.SIGKILL)).start()
    assert [outcome.value for outcome in pool.run([("double", 4)])] == [8]


def test_tasks_that_nobody_waits_for_are_ended():
    """Else the next ones would wait for an hour."""
    with WorkerPool(worker_tasks.anything, 2, stall_seconds=7200) as pool:
        for _ in pool.run([("double", 1), ("silent", 1, 3600), ("silent", 2, 3600)]):
            break
        assert {outcome.value for outcome in pool.run([("double", 4), ("double", 5)])} == {8, 10}


def test_function_that_workers_cannot_load(monkeypatch):
    ghost = types.ModuleType("ghost")
    exec("def function(beat): pass", ghost.__dict__)
    monkeypatch.setitem(sys.modules, "ghost", ghost)
    with (
        WorkerPool(ghost.function, 2) as pool,
        pytest.raises(UserError, match=r"Worker processes end as they start \(ModuleNotFoundError: No module .*ghost"),
    ):
        list(pool.run([()] * 50))


@pytest.mark.parametrize(
    "program, message",
    [("/bin/false", r"end as they start \(its process ended with status 1\)"), ("/no/python", "cannot be started")],
)
def test_workers_that_do_not_start(monkeypatch, program, message):
    monkeypatch.setattr(sys, "executable", program)
    with WorkerPool(worker_tasks.double, 2) as pool, pytest.raises(UserError, match=message):
        list(pool.run([(1,)] * 50))


PARENT = """
import sys
from ccsn_tf.worker_pool import WorkerPool
import worker_tasks
if __name__ == "__main__":
    with WorkerPool(worker_tasks.anything, 2) as pool:
        print(*(outcome.value for outcome in pool.run([("process",)] * 20)), flush=True)
        for outcome in pool.run([("silent", 0, 1000), ("steady", 0, 1000)]):
            pass
"""


@needs_proc
def test_workers_end_with_a_parent_that_is_killed():
    tests = pathlib.Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)])}
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, env=environment)
    workers = {int(pid) for pid in parent.stdout.readline().split()}
    time.sleep(0.2)
    assert workers and all(map(is_alive, workers))
    parent.kill()
    parent.communicate()
    wait_until(lambda: not any(map(is_alive, workers)), 20)


def test_workers_do_without_tensorflow():
    with WorkerPool(worker_tasks.modules, 1) as pool:
        (outcome,) = pool.run([()])
    assert "tensorflow" not in outcome.value and "cv2" not in outcome.value
    code = "import sys, ccsn_tf.data.prepare.prepare; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
