"""What preparation takes of the machine: memory and cores."""

import contextlib
import os
import pathlib
import re
import subprocess
import time

import pytest
from processes import is_worker, needs_proc, prepare_command, processes_of
from videos import moving, write_video

from ccsn_tf.config import DataConfig

ORIGINALS = pathlib.Path(__file__).parents[4] / "shared" / "data" / "originals"


def peak_memory(config):
    """The most memory, in MB, that the process and one of its workers had at a time, while they prepared."""
    most = {True: 0.0, False: 0.0}
    with subprocess.Popen(
        prepare_command(config), start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        while process.poll() is None:
            for pid in processes_of(process.pid):
                with contextlib.suppress(OSError, TypeError):  # it has just ended
                    status = pathlib.Path(f"/proc/{pid}/status").read_text()
                    most[is_worker(pid)] = max(most[is_worker(pid)], int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1e3)
            time.sleep(0.02)
        assert process.returncode == 0 and " 0 skipped." in process.stdout.read()
    return most[False], most[True]


@needs_proc
@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_videos(tmp_path):
    peaks = {}
    for count in (100, 1000):
        root = tmp_path / str(count)
        for number in range(count):
            path = root / "videos" / "ab"[number % 2] / f"{number}.avi"
            path.parent.mkdir(parents=True, exist_ok=True)
            if number < 10:
                write_video(path, moving(14 + 2 * number, seed=number))
            else:
                os.link(root / "videos" / "ab"[number % 2] / f"{number % 10}.avi", path)
        names = {"dataset": "folder", "video_dir": str(root / "videos"), "record_dir": str(root / "records")}
        peaks[count] = peak_memory(DataConfig(**names, workers=2))
        print(f"{count} videos: {peaks[count][0]:.1f} MB, each worker at most {peaks[count][1]:.1f} MB")
    for few, many in zip(peaks[100], peaks[1000], strict=True):
        assert many < 1.1 * few


def idle_seconds():
    """Seconds that the machine's cores have been idle, summed up, since it was started."""
    fields = pathlib.Path("/proc/stat").read_text().split("\n")[0].split()
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("copies", [4])
def test_all_cores_are_busy(tmp_path, copies):
    if not ORIGINALS.is_dir():
        pytest.skip(f"{ORIGINALS} is absent")
    for path in ORIGINALS.glob("*/*.avi"):
        (tmp_path / "videos" / path.parent.name).mkdir(parents=True)
        for copy in range(copies):
            (tmp_path / "videos" / path.parent.name / f"{copy}.avi").symlink_to(path)
    config = DataConfig(dataset="folder", video_dir=str(tmp_path / "videos"), record_dir=str(tmp_path / "records"))
    begun, idle = time.monotonic(), idle_seconds()
    process = subprocess.Popen(prepare_command(config), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    _, status, used = os.wait4(process.pid, 0)
    wall, idle = time.monotonic() - begun, idle_seconds() - idle
    with process:
        frames = int(re.search(r"(\d+) frames", process.stdout.read())[1])
        process.returncode = status
    ours, cores = used.ru_utime + used.ru_stime, len(os.sched_getaffinity(0))
    print(
        f"{frames} frames in {wall:.1f} s, {frames / wall:.0f} frames/s; {ours:.1f} s of CPU time: "
        f"{100 * ours / (cores * wall):.1f} % of {cores} cores, {100 * ours / (ours + idle):.1f} % of what others left"
    )
    assert status == 0
    assert ours > 0.9 * (ours + idle)
