"""Preparation as a process among others: killed, hung, interrupted, short of disk or permissions."""

import contextlib
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from processes import needs_proc, prepare_command, processes_of, wait_until
from record_folders import contents, into
from videos import moving, write_video

from ccsn_tf.config import DataConfig
from ccsn_tf.data.prepare.prepare import prepare
from ccsn_tf.data.records.manifest import Manifest

# As somebody whom permissions bind.
AS_ANYBODY = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


@pytest.fixture
def start():
    """Starts prepare.py with a config, in a session and process group of its own."""
    options, started = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}, []
    # Shells ignore it in what they run in the background, which these tests may be.
    options |= {"start_new_session": True}

    def start(config):
        started.append(subprocess.Popen(["env", "--default-signal=INT", *prepare_command(config)], **options))
        return started[-1]

    yield start
    for process in started:
        with process, contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """The config of 8 videos of different lengths, one of them broken; its flow takes long."""
    root = tmp_path_factory.mktemp("processes") / "videos"
    for label in ("left", "right"):
        for number in range(4):
            write_video(root / label / f"{number}.avi", moving(6 + number % 2, seed=number))
    (root / "left" / "3.avi").write_bytes(b"no video")
    return DataConfig(dataset="folder", video_dir=str(root), workers=2, flow="tvl1")


@pytest.fixture(scope="module")
def whole(clips, tmp_path_factory):
    """The files of `clips`, prepared in peace, and the seconds that it took."""
    folder, begun = tmp_path_factory.mktemp("whole") / "records", time.monotonic()
    assert run(prepare_command(into(clips, folder))).stdout.endswith("1 skipped.\n")
    return contents(folder), time.monotonic() - begun


def before_anything(program, folder, monkeypatch):
    """Has every Python that is started from now on run a program first."""
    (folder / "first").mkdir()
    (folder / "first" / "sitecustomize.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder / "first"), os.environ.get("PYTHONPATH", "")]))


def run(command):
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def visible(folder):
    return {name: content for name, content in contents(folder).items() if not re.search(r"(^|/)\.", name)}


@needs_proc
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kills", [2, pytest.param(200, marks=pytest.mark.slow)])
def test_killed_at_any_moment_and_started_again(clips, whole, tmp_path, start, kills, seed=0):
    (whole, seconds), rng, config = whole, random.Random(seed), into(clips, tmp_path / "records")
    killed = finished = with_work_left = 0
    while killed < kills or visible(config.record_dir) != whole:
        process = start(config)
        try:
            errors = process.communicate(timeout=rng.uniform(0, 0.9 * seconds) if killed < kills else 60)[1]
        except subprocess.TimeoutExpired:
            killed += 1
            os.kill(process.pid, signal.SIGKILL) if rng.random() < 0.5 else os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            wait_until(lambda session=process.pid: not processes_of(session), 20)
            found = visible(config.record_dir) if pathlib.Path(config.record_dir).is_dir() else {}
            assert all(whole[name] == content for name, content in found.items())  # whole or not at all
            with_work_left += len(found) < len(whole)
            continue
        assert process.returncode == 0, errors
        assert contents(config.record_dir) == whole
        finished += 1
        for name in whole:  # the next one is to find something to do
            if killed < kills and name != "settings.json" and rng.random() < 0.7:
                pathlib.Path(config.record_dir, name).unlink()
    print(f"{killed} kills, {with_work_left} of them with work left, {finished} runs to the end, all alike")
    assert with_work_left > kills / 4
    assert Manifest.read(config.record_dir).counts()["num_clips"] == 7


DEADLY = """
import os, signal, sys
if "ccsn_tf.worker" in sys.orig_argv:
    import av
    deadly, opened = {"left/1.avi": signal.SIGSEGV, "right/2.avi": signal.SIGSTOP}, av.open
    def open(file, *arguments, **options):
        for name, how in deadly.items():
            if str(file).endswith(name):
                os.kill(os.getpid(), how)
        return opened(file, *arguments, **options)
    av.open = open
"""


@needs_proc
def test_workers_that_die_or_hang_cost_their_clips_until_the_next_run(clips, whole, tmp_path, start, monkeypatch):
    before_anything(DEADLY, tmp_path, monkeypatch)
    config = into(clips, tmp_path / "records", stall_seconds=10.0)
    process = start(config)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0 and out.endswith("3 skipped.\n"), err
    reasons = {"left/1": "its process was killed by SIGSEGV", "right/2": r"no progress for 10 s \(--stall_seconds\)"}
    for clip, reason in reasons.items():
        assert re.search(rf"skipped {clip}: .*\.avi: {reason}; the same command tries it again\.\n", out), out
    assert not processes_of(process.pid)
    assert len(Manifest.read(config.record_dir).clips) == 5
    prepare(config, 5)
    assert contents(config.record_dir) == whole[0]


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_interrupted(clips, tmp_path, start, number):
    process = start(into(clips, tmp_path / "records"))
    wait_until(lambda: list(tmp_path.glob("records/clips/*/[!.]*.zip")) and len(processes_of(process.pid)) == 3)
    os.killpg(process.pid, number)  # as Ctrl-C in a terminal does
    out, err = process.communicate(timeout=20)
    assert process.returncode == 1 and not out
    assert err.endswith("\n\nprepare: interrupted; the same command goes on where this one stopped.\n")
    assert all(line.startswith("prepare") or not line for line in err.splitlines())
    assert not processes_of(process.pid)
    assert list(tmp_path.glob("records/clips/*/[!.]*.zip")) and not list(tmp_path.glob("records/**/.*"))


NO_LOCKS = """
import fcntl
def flock(*_): raise OSError(95, "Operation not supported")
fcntl.flock = flock
"""


@pytest.mark.slow
def test_two_processes_where_the_disk_knows_no_locks(clips, whole, tmp_path, start, monkeypatch):
    before_anything(NO_LOCKS, tmp_path, monkeypatch)
    config = into(clips, tmp_path / "records")
    for process in [start(config), start(config)]:
        errors = process.communicate(timeout=60)[1]
        assert process.returncode == 0, errors
    assert visible(config.record_dir) == whole[0]


# Disk and permissions


FOLDER_BY_FOLDER = """
import sys
from ccsn_tf.config import DataConfig
from ccsn_tf.data.prepare.prepare import prepare
from ccsn_tf.errors import UserError
video_dir, *folders = sys.argv[1:]
if __name__ == "__main__":
    for folder in folders:
        try:
            config = DataConfig(dataset="folder", video_dir=video_dir, record_dir=folder, workers=1)
            print(*prepare(config, 5).skipped.values())
        except UserError as error:
            print(error)
"""


@pytest.mark.skipif(AS_ANYBODY and not shutil.which("setpriv"), reason="nothing is forbidden to root")
def test_what_is_forbidden(tmp_path):
    for name in ("run/0.avi", "run/1.avi"):
        write_video(tmp_path / "videos" / name, moving(6))
    (tmp_path / "videos" / "run" / "0.avi").chmod(0)
    folders = [tmp_path / name for name in ("closed", "read_only", "unreadable", "settings", "open")]
    for folder in folders:
        folder.mkdir()
    (tmp_path / "settings" / "settings.json").touch(0)
    for folder, mode in zip(folders, (0o500, 0o500, 0, 0o700, 0o700), strict=True):
        folder.chmod(mode)
    folders[0] /= "records"
    result = run([*AS_ANYBODY, sys.executable, "-c", FOLDER_BY_FOLDER, str(tmp_path / "videos"), *map(str, folders)])
    for folder, line in zip(folders[:2], result.stdout.splitlines()[:2], strict=True):
        assert line.startswith(f"{folder}/.lock cannot be written (Permission denied): "), result.stderr
    for path, line in zip(
        (folders[2], folders[3] / "settings.json", tmp_path / "videos" / "run" / "0.avi"),
        result.stdout.splitlines()[2:],
        strict=True,
    ):
        assert line.startswith(f"{path} cannot be read (Permission denied)"), result.stderr
