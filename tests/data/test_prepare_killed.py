"""Preparation whose processes are killed."""

import dataclasses
import functools
import json
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from ccsn_tf.data.manifest import FILE_NAME
from ccsn_tf.data.prepare import prepare
from ccsn_tf.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]


def contents(folder):
    """{name: bytes} of everything below a folder."""
    return {path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir()}


def into(config, folder, **changes):
    return dataclasses.replace(config, record_dir=str(folder), **changes)


def test_killed_worker(tiny_data, tmp_path):
    config = into(tiny_data, tmp_path / "records", workers=2, flow="tvl1", clips_per_shard=1)

    def kill_one():
        while not list(tmp_path.glob("records/*.tfrecord")):
            time.sleep(0.01)
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    with pytest.raises(UserError, match=r"One of the 2 worker processes was killed, .* fewer --workers"):
        prepare(config, 5)
    killer.join()
    assert not pathlib.Path(config.record_dir, FILE_NAME).exists()


def children_of(pid):
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        if int(parent) == pid and state != "Z":
            found.append(int(path.parent.name))
    return found


def runs(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.skipif(not pathlib.Path("/proc/self/stat").exists(), reason="needs /proc")
def test_killed_and_run_again_through_the_script(tiny_data, tmp_path):
    config = into(tiny_data, tmp_path / "killed", classes=("MoveLeft",), flow="tvl1", clips_per_shard=1)
    names = ("video_dir", "split_dir", "record_dir", "flow", "clips_per_shard")
    command = [sys.executable, str(ROOT / "scripts" / "prepare.py"), "--classes=MoveLeft"]
    command += [f"--{name}={getattr(config, name)}" for name in names]
    start = functools.partial(subprocess.Popen, command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    first = subprocess.Popen([*command, "--workers=2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(list(tmp_path.glob("killed/clips-*.json"))) > 0 or first.poll() is not None)
    workers = children_of(first.pid)
    first.send_signal(signal.SIGKILL)
    first.wait()
    wait_until(lambda: not any(map(runs, workers)), 20)  # the workers end with their parent
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").glob("clips-*.json")}
    assert 0 < len(kept) < 5
    assert not (tmp_path / "killed" / FILE_NAME).exists()

    second = start()
    out, err = second.communicate(timeout=300)
    assert second.returncode == 0, err
    assert "5 clips of 1 classes, 70 frames" in out and "0 skipped" in out
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    prepare(into(config, tmp_path / "whole"), 5)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert json.loads((tmp_path / "killed" / FILE_NAME).read_text())["num_clips"] == 5
