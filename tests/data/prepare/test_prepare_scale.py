"""What preparation needs of the machine: memory, cores, disk, permissions."""

import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import time

import pytest
from processes import is_worker, needs_proc, prepare_command, processes_of
from videos import moving, write_video

from ccsn_tf.config import DataConfig

ORIGINALS = pathlib.Path(__file__).parents[4] / "shared" / "data" / "originals"

AS_ANYBODY = (
    ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
)  # whom permissions bind


@pytest.fixture
def few(tmp_path):
    """The config of four small videos."""
    for label in ("left", "right"):
        for number in range(2):
            write_video(tmp_path / "videos" / label / f"{number}.avi", moving(8, seed=number))
    video_dir, record_dir = str(tmp_path / "videos"), str(tmp_path / "records")
    return DataConfig(dataset="folder", video_dir=video_dir, record_dir=record_dir, clips_per_shard=1, workers=2)


def run(command):
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


# Disk and permissions


def test_disk_that_is_full(few, tmp_path):
    if run(["unshare", "-m", "mount", "-t", "tmpfs", "none", str(tmp_path / "videos")]).returncode:
        pytest.skip("a disk cannot be mounted here")
    pathlib.Path(few.record_dir).mkdir()
    mount = f"mount -t tmpfs -o size=64k none {few.record_dir}"
    result = run(["unshare", "-m", "sh", "-c", f'{mount} && "$@"; ls -A {few.record_dir}', "-", *prepare_command(few)])
    error = result.stderr.splitlines()[-1]
    assert re.match(rf"prepare: {few.record_dir}/clips-0000\d-of-00004\.\w+ cannot be written ", error)
    assert error.endswith(" (No space left on device): free space, or choose another folder.")
    assert not any(name.startswith(".") for name in result.stdout.split())
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(AS_ANYBODY and not shutil.which("setpriv"), reason="nothing is forbidden to root")
class TestPermissions:
    def end(self, config):
        result = run([*AS_ANYBODY, *prepare_command(config)])
        assert result.returncode == 1 and not result.stdout
        return result.stderr.splitlines()[-1]

    def test_folder_that_cannot_be_made(self, few, tmp_path):
        (tmp_path / "closed").mkdir(mode=0o500)
        folder = tmp_path / "closed" / "records"
        sentence = self.end(dataclasses.replace(few, record_dir=str(folder)))
        assert sentence.startswith(f"prepare: {folder}/.lock cannot be written (Permission denied): ")

    def test_folder_of_somebody_else(self, few):
        assert run(prepare_command(few)).returncode == 0
        pathlib.Path(few.record_dir).chmod(0o500)
        assert "/.lock cannot be written (Permission denied): " in self.end(few)
        pathlib.Path(few.record_dir).chmod(0)
        assert self.end(few).startswith(f"prepare: {few.record_dir} cannot be read (Permission denied): ")
        pathlib.Path(few.record_dir).chmod(0o700)
        pathlib.Path(few.record_dir, "plan.json").chmod(0)
        assert self.end(few).startswith(f"prepare: {few.record_dir}/plan.json cannot be read (Permission denied): ")

    def test_video_that_cannot_be_read_is_skipped(self, few, tmp_path):
        (tmp_path / "videos" / "left" / "0.avi").chmod(0)
        result = run([*AS_ANYBODY, *prepare_command(few)])
        assert "0.avi cannot be read (Permission denied)" in result.stdout
        assert result.stdout.endswith(" 1 skipped.\n") and result.returncode == 0


# Memory and cores


def peak_memory(config):
    """The most memory, in MB, that the process and one of its workers had at a time, while they prepared."""
    most = {True: 0.0, False: 0.0}
    with subprocess.Popen(
        prepare_command(config), start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        while process.poll() is None:
            for pid in processes_of(process.pid):
                try:
                    status = pathlib.Path(f"/proc/{pid}/status").read_text()
                    most[is_worker(pid)] = max(most[is_worker(pid)], int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1e3)
                except (OSError, TypeError):  # it has just ended
                    pass
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
        config = DataConfig(
            dataset="folder", video_dir=str(root / "videos"), record_dir=str(root / "records"), workers=2
        )
        peaks[count] = peak_memory(config)
        print(f"{count} videos: {peaks[count][0]:.1f} MB, each worker at most {peaks[count][1]:.1f} MB")
    for few, many in zip(peaks[100], peaks[1000], strict=True):
        assert many < 1.1 * few


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
    video_dir, record_dir = str(tmp_path / "videos"), str(tmp_path / "records")
    config = DataConfig(dataset="folder", video_dir=video_dir, record_dir=record_dir)
    begun, idle = time.monotonic(), idle_seconds()
    process = subprocess.Popen(prepare_command(config), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    _, status, used = os.wait4(process.pid, 0)
    wall, idle = time.monotonic() - begun, idle_seconds() - idle
    with process:
        frames = int(re.search(r"(\d+) frames", process.stdout.read())[1])
        process.returncode = status
    ours = used.ru_utime + used.ru_stime
    cores = len(os.sched_getaffinity(0))
    print(
        f"{frames} frames in {wall:.1f} s, {frames / wall:.0f} frames/s; {ours:.1f} s of CPU time: "
        f"{100 * ours / (cores * wall):.1f} % of {cores} cores, {100 * ours / (ours + idle):.1f} % of what others left"
    )
    assert status == 0
    assert ours > 0.9 * (ours + idle)


def idle_seconds():
    """Seconds that the machine's cores have been idle, summed up, since it was started."""
    fields = pathlib.Path("/proc/stat").read_text().split("\n")[0].split()
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")
