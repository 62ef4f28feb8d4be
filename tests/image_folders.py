"""Folders of JPEG frames and flow images for tests, named as denseflow, mmaction2 and TSN's tools name them."""

import pathlib

import cv2
import numpy as np
import videos


def flow_planes(num_fields, height=videos.HEIGHT, width=videos.WIDTH):
    """Smooth flow images that tell when and which they are: x is 10 i + 3 on the left, y is 10 i + 7 at the top.

    Returns:
        uint8 (N, 2, H, W); x grows by 40 to the right, y by 40 downwards.
    """
    down, right = np.mgrid[:height, :width]
    x, y = 40 * right / (width - 1), 40 * down / (height - 1)
    return np.stack([np.stack([10 * i + 3 + x, 10 * i + 7 + y]).round().astype(np.uint8) for i in range(num_fields)])


def write_clip(folder, frames=None, planes=None, first=1, flow_first=None, names=None):
    """A clip as mmaction2 has it: img_00001.jpg ..., and flow_x_00001.jpg, flow_y_00001.jpg ... if `planes` is given.

    Args:
        frames: uint8 (N, H, W, 3); default: `videos.moving()`.
        planes: uint8 (fields, 2, H, W), x and y.
        first: number of the first frame.
        flow_first: number of the first field; default: as the frames.
        names: patterns of frames, x and y.
    """
    image, x, y = names or ("img_%05d.jpg", "flow_x_%05d.jpg", "flow_y_%05d.jpg")
    kinds = [(image, videos.moving() if frames is None else frames, first)]
    if planes is not None:
        begin = first if flow_first is None else flow_first
        kinds += [(x, planes[:, 0], begin), (y, planes[:, 1], begin)]
    for pattern, images, begin in kinds:
        for number, picture in enumerate(images, start=begin):
            path = pathlib.Path(folder, pattern % number)
            path.parent.mkdir(parents=True, exist_ok=True)
            turned = picture[..., ::-1] if picture.ndim == 3 else picture
            cv2.imwrite(str(path), np.ascontiguousarray(turned))
    return pathlib.Path(folder)
