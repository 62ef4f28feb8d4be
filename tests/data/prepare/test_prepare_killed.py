"""Preparation whose processes are killed, hang, or meet one another."""

import contextlib
import dataclasses
import os
import pathlib
import random
import re
import signal
import subprocess
import time

import pytest
from processes import is_worker, needs_proc, prepare_command, processes_of, wait_until
from videos import moving, write_video

from ccsn_tf.config import DataConfig
from ccsn_tf.data.prepare.prepare import prepare
from ccsn_tf.data.records.manifest import Manifest
from ccsn_tf.files import only_process


def contents(folder):
    """{name: bytes} of a folder's files, but for hidden ones."""
    return {path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir() if path.name[0] != "."}


@pytest.fixture
def start():
    """Starts prepare.py with a config, in a session and process group of its own."""
    options, started = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}, []
    # Shells ignore it in what they run in the background, which these tests may be.
    options |= {"start_new_session": True, "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}

    def start(config):
        started.append(subprocess.Popen(prepare_command(config), **options))
        return started[-1]

    yield start
    for process in started:
        with process, contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A folder of 24 videos of different lengths, one of them broken, and the config of 8 record files."""
    root = tmp_path_factory.mktemp("killed") / "videos"
    for label in ("left", "right"):
        for number in range(12):
            write_video(root / label / f"{number}.avi", moving(6 + number, height=72, width=96, seed=number))
    (root / "left" / "5.avi").write_bytes(b"no video")
    return DataConfig(dataset="folder", video_dir=str(root), clips_per_shard=3, workers=2)


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """Eight small videos whose flow takes long, and the config of 4 record files."""
    root = tmp_path_factory.mktemp("slow") / "videos"
    for label in ("left", "right"):
        for number in range(4):
            write_video(root / label / f"{number}.avi", moving(8, seed=number))
    return DataConfig(dataset="folder", video_dir=str(root), clips_per_shard=2, workers=2, flow="tvl1")


def into(config, folder, **changes):
    return dataclasses.replace(config, record_dir=str(folder), **changes)


@needs_proc
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kills", [5, pytest.param(200, marks=pytest.mark.slow)])
def test_killed_at_any_moment_and_started_again(clips, tmp_path, start, kills, seed=0):
    rng, config = random.Random(seed), into(clips, tmp_path / "records")
    begun = time.monotonic()
    whole = start(into(clips, tmp_path / "whole"))
    assert whole.communicate()[0].endswith("1 skipped.\n")
    seconds, expected = time.monotonic() - begun, contents(tmp_path / "whole")
    killed = finished = with_work_left = 0
    while killed < kills or contents(config.record_dir) != expected:
        process = start(config)
        try:
            errors = process.communicate(timeout=rng.uniform(0, 1.2 * seconds) if killed < kills else 60)[1]
        except subprocess.TimeoutExpired:
            killed += 1
            os.kill(process.pid, signal.SIGKILL) if rng.random() < 0.5 else os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            wait_until(lambda session=process.pid: not processes_of(session), 20)
            found = contents(config.record_dir) if pathlib.Path(config.record_dir).is_dir() else {}
            assert all(expected[name] == content for name, content in found.items())  # whole or not at all
            with_work_left += len(found) < len(expected)
            continue
        assert process.returncode == 0, errors
        assert contents(config.record_dir) == expected
        assert not list(pathlib.Path(config.record_dir).glob(".*"))
        finished += 1
        for name in expected:  # the next one is to find something to do
            if killed < kills and name != "plan.json" and rng.random() < 0.7:
                pathlib.Path(config.record_dir, name).unlink()
    print(f"{killed} kills, {with_work_left} of them with work left, {finished} runs to the end, all alike")
    assert with_work_left > kills / 4
    assert Manifest.read(config.record_dir).counts()["num_clips"] == 23


def worker_of(session):
    """The id of a worker process of a session."""
    return next(filter(is_worker, processes_of(session)), None)


@needs_proc
def test_worker_that_dies_costs_its_clip_until_the_next_run(slow, tmp_path, start):
    config = into(slow, tmp_path / "records")
    process = start(config)
    wait_until(lambda: list(tmp_path.glob("records/clips-*.json")) and worker_of(process.pid))
    os.kill(worker_of(process.pid), signal.SIGSEGV)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0 and out.endswith("1 skipped.\n"), err
    assert re.search(r"skipped .*\.avi: its process was killed by SIGSEGV; the same command tries it again\.\n", out)
    assert len(Manifest.read(config.record_dir).clips) == 7
    assert len(prepare(config, 5).clips) == 8
    prepare(into(slow, tmp_path / "whole"), 5)
    assert contents(config.record_dir) == contents(tmp_path / "whole")


@needs_proc
def test_worker_that_hangs_costs_its_clip_until_the_next_run(slow, tmp_path, start):
    config = into(slow, tmp_path / "records", stall_seconds=5.0)
    process = start(config)
    wait_until(lambda: list(tmp_path.glob("records/clips-*.json")) and worker_of(process.pid))
    os.kill(worker_of(process.pid), signal.SIGSTOP)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0 and out.endswith("1 skipped.\n"), err
    assert re.search(
        r"skipped .*\.avi: no progress for 5 s \(--stall_seconds\); the same command tries it again\.\n", out
    )
    assert not processes_of(process.pid)
    assert len(prepare(config, 5).clips) == 8


@needs_proc
def test_interrupted(slow, tmp_path, start):
    config = into(slow, tmp_path / "records")
    process = start(config)
    wait_until(lambda: list(tmp_path.glob("records/clips-*.json")) and len(processes_of(process.pid)) == 3)
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C in a terminal does
    out, err = process.communicate(timeout=20)
    assert process.returncode == 1 and not out
    assert err.endswith("\n\nprepare: interrupted; the same command goes on where this one stopped.\n")
    assert all(line.startswith("prepare") or not line for line in err.splitlines())
    assert not processes_of(process.pid)
    assert list(tmp_path.glob("records/clips-*.json")) and not list(tmp_path.glob("records/.*"))


def test_second_process_on_the_same_folder(clips, tmp_path, start):
    config = into(clips, tmp_path / "records")
    with only_process(config.record_dir):  # as the first has it
        second = start(config)
        out, err = second.communicate(timeout=60)
    assert second.returncode == 1 and not out
    assert err.startswith(f"prepare: {config.record_dir} is in use by process {os.getpid()} on ")
    assert err.endswith(": wait for it, or end it.\n") and err.count("\n") == 1
    assert not list(pathlib.Path(config.record_dir).iterdir())
    assert len(prepare(config, 5).clips) == 23


NO_LOCKS = """
import fcntl
def flock(*_): raise OSError(95, "Operation not supported")
fcntl.flock = flock
"""


def test_two_processes_where_the_disk_knows_no_locks(clips, tmp_path, start, monkeypatch):
    (tmp_path / "no_locks").mkdir()
    (tmp_path / "no_locks" / "sitecustomize.py").write_text(NO_LOCKS)  # Python runs it as it starts
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "no_locks"), os.environ.get("PYTHONPATH", "")]))
    config = into(clips, tmp_path / "records")
    for process in [start(config), start(config)]:
        errors = process.communicate(timeout=60)[1]
        assert process.returncode == 0, errors
    monkeypatch.undo()
    assert len(Manifest.read(config.record_dir).clips) == 23
    prepare(into(clips, tmp_path / "whole"), 5)
    assert contents(config.record_dir) == contents(tmp_path / "whole")
