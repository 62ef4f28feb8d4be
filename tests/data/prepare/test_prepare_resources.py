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
