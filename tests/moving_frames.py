"""Frames whose motion is known: smooth random textures, moved."""

import cv2
import numpy as np


def texture(height, width, seed=0, margin=16):
    """A smooth random image, float32 (height + 2 margin, width + 2 margin), 0-255."""
    noise = np.random.default_rng(seed).normal(size=(height + 2 * margin, width + 2 * margin)).astype("float32")
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return np.clip(128 + 60 * smooth / smooth.std(), 0, 255).astype("float32")


def moving(shift, height=40, width=48, count=2, seed=0, margin=16):
    """`count` frames, float32 (count, height, width), whose content moves by `shift` = (x, y) pixels a frame."""
    wide = texture(height, width, seed, margin)
    frames = []
    for number in range(count):
        place = np.float32([[1, 0, number * shift[0]], [0, 1, number * shift[1]]])
        moved = cv2.warpAffine(wide, place, wide.shape[::-1], flags=cv2.INTER_CUBIC)
        frames.append(moved[margin : margin + height, margin : margin + width])
    return np.stack(frames)
