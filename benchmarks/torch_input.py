"""What benchmarks/input.py is compared with: a PyTorch `DataLoader` of folders of frames, as mmaction2 lays them out.

    python torch_input.py CLIPS WORKERS

CLIPS is an .npz file of planned clips: `folder`, `starts` (N, K), `box` and `flow_box` (N, 4), `mirrored`, and `sizes`:
image size, L, batch. Folders hold img_00001.jpg, ..., flow_x_00001.jpg, flow_y_00001.jpg, ... Answers {"first": FILE or
null} with {"seconds": ..., "cpu": seconds of this process and its workers}, after one pass over the clips; the first
batch goes to the file. For another Python, which has torch, numpy and opencv; nothing of ccsn_tf is imported.
"""

import json
import os
import sys
import time

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader


class Clips:
    """A map-style data set: frames uint8 (K, S, S, 3) and flow uint8 (K, 2L, S, S), x1, y1, x2, ..."""

    def __init__(self, plan, size, length):
        self._plan, self._size, self._length = plan, size, length

    def __len__(self):
        return len(self._plan["folder"])

    def __getitem__(self, index):
        folder, starts, box, flow_box, mirrored = (
            self._plan[name][index] for name in ("folder", "starts", "box", "flow_box", "mirrored")
        )

        def view(name, flags, box):
            top, left, height, width = box
            image = cv2.imread(f"{folder}/{name}.jpg", flags)[top : top + height, left : left + width]
            image = cv2.resize(image, (self._size, self._size))
            return cv2.flip(image, 1) if mirrored else image

        frames, planes = [], []
        for start in starts.tolist():
            frames.append(view(f"img_{start + self._length // 2 + 1:05d}", cv2.IMREAD_COLOR_RGB, box))
            for number in range(start + 1, start + 1 + self._length):
                x = view(f"flow_x_{number:05d}", cv2.IMREAD_GRAYSCALE, flow_box)
                planes += [255 - x if mirrored else x, view(f"flow_y_{number:05d}", cv2.IMREAD_GRAYSCALE, flow_box)]
        return np.stack(frames), np.stack(planes).reshape(len(starts), 2 * self._length, self._size, self._size)


def cpu_seconds(pid):
    """CPU time of a process so far, of all its threads."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(clips, workers):
    with np.load(clips) as arrays:
        plan = dict(arrays)
    size, length, batch = plan.pop("sizes").tolist()
    torch.set_num_threads(1)
    loader = DataLoader(
        Clips(plan, size, length),
        batch_size=batch,
        num_workers=int(workers),
        persistent_workers=True,
        prefetch_factor=2,
        worker_init_fn=lambda _: cv2.setNumThreads(0),
    )
    print(json.dumps({"torch": torch.__version__}), flush=True)
    for line in sys.stdin:
        first, iterator = json.loads(line)["first"], getattr(loader, "_iterator", None)  # none before the first pass
        pids = [os.getpid(), *(worker.pid for worker in iterator._workers)] if iterator else []
        begun, used = time.perf_counter(), sum(map(cpu_seconds, pids))
        for frames, flow in loader:
            if first:
                np.savez(first, rgb=frames.numpy(), flow=flow.numpy())
                first = None
        answer = {"seconds": time.perf_counter() - begun, "cpu": sum(map(cpu_seconds, pids)) - used}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
