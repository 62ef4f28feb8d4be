"""What our input is compared with: a PyTorch `DataLoader` of folders of frames, as mmaction2 lays them out.

    <clip>/img_00001.jpg, ...                     frames
    <clip>/flow_x_00001.jpg, flow_y_00001.jpg     the two planes of each flow field

Not imported by the package: `TorchLoader` runs this file with another Python, which has PyTorch, NumPy and OpenCV. It
answers lines of JSON on its standard input with lines of JSON.
"""

import json
import sys
import time

import cv2
import numpy as np


def read_clip(folder, starts, box, mirrored, image_size, flow_length):
    """Reads, crops, scales and mirrors the images of a clip's snippets.

    Args:
        folder: of the clip's images, numbered from 1.
        starts: int (K,), first flow field of each snippet, from 0.
        box: top, left, height, width of what to keep.
        mirrored: whether to mirror; x-flow v becomes 255 - v.
        image_size: side S of the result.
        flow_length: L.

    Returns:
        Frames, uint8 (K, S, S, 3), and flow, uint8 (K, 2L, S, S): x1, y1, x2, y2, ...
    """
    top, left, height, width = (int(number) for number in box)

    def view(name, flags):
        image = cv2.imread(f"{folder}/{name}.jpg", flags)
        if image is None:
            raise OSError(f"{folder}/{name}.jpg cannot be read")
        image = cv2.resize(image[top : top + height, left : left + width], (image_size, image_size))
        return cv2.flip(image, 1) if mirrored else image

    frames, planes = [], []
    for start in starts.tolist():
        frames.append(view(f"img_{start + flow_length // 2 + 1:05d}", cv2.IMREAD_COLOR_RGB))
        for index in range(start + 1, start + 1 + flow_length):
            plane = view(f"flow_x_{index:05d}", cv2.IMREAD_GRAYSCALE)
            planes.append(255 - plane if mirrored else plane)
            planes.append(view(f"flow_y_{index:05d}", cv2.IMREAD_GRAYSCALE))
    return np.stack(frames), np.stack(planes).reshape(len(starts), 2 * flow_length, image_size, image_size)


class Clips:
    """A map-style data set of planned clips: `plan` as `training_plan` makes it, flat, with `folder` for `file`."""

    def __init__(self, plan, image_size, flow_length):
        self._plan, self._sizes = plan, (image_size, flow_length)

    def __len__(self):
        return len(self._plan["label"])

    def __getitem__(self, index):
        places = [self._plan[name][index] for name in ("folder", "starts", "box", "mirrored")]
        return (*read_clip(*places, *self._sizes), self._plan["label"][index])


def make_loader(plan, image_size, flow_length, batch, workers):
    """A DataLoader as one would set it up here: processes that stay, prefetching, OpenCV on one thread in each."""
    from torch.utils.data import DataLoader

    return DataLoader(
        Clips(plan, image_size, flow_length),
        batch_size=batch,
        num_workers=workers,
        persistent_workers=True,
        prefetch_factor=2,
        worker_init_fn=_begin_worker,
    )


def _begin_worker(number):
    cv2.setNumThreads(0)


def main():
    import torch

    print(json.dumps({"torch": torch.__version__, "opencv": cv2.__version__}), flush=True)
    loaders = {}
    for line in sys.stdin:
        asked = json.loads(line)
        plan, first = asked.pop("plan"), asked.pop("first")
        if plan not in loaders:
            with np.load(plan) as arrays:
                loaders[plan] = make_loader(dict(arrays), **asked)
        clips, begun = 0, time.perf_counter()
        for frames, flow, labels in loaders[plan]:
            clips += len(labels)
            if first and clips == len(labels):
                np.savez(first, rgb=frames.numpy(), flow=flow.numpy(), label=labels.numpy())
        print(json.dumps({"clips": clips, "seconds": time.perf_counter() - begun}), flush=True)


if __name__ == "__main__":
    main()
