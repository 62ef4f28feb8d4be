"""Data set readers: a layout on disk to a `Listing`."""

import dataclasses
import os

from ccsn_tf.config import DataConfig
from ccsn_tf.data.datasets.listing import Clip, Listing, Split, require_folder
from ccsn_tf.data.datasets.own import read_folder, read_text_list
from ccsn_tf.data.datasets.published import read_hmdb51, read_sthv2, read_ucf101

__all__ = ["Clip", "Listing", "Split", "read_listing"]

_READERS = {
    "ucf101": read_ucf101,
    "hmdb51": read_hmdb51,
    "sthv2": read_sthv2,
    "folder": read_folder,
    "list": read_text_list,
}


def read_listing(config: DataConfig) -> Listing:
    """Lists the clips of `config.dataset` (the demo set is laid out as UCF101, below its --video_dir).

    Raises:
        UserError: see the readers.
    """
    if config.dataset != "demo":
        return _READERS[config.dataset](config)
    root = require_folder(config.video_dir, "video_dir")
    places = {"video_dir": os.path.join(root, "videos"), "split_dir": os.path.join(root, "ucfTrainTestlist")}
    return read_ucf101(dataclasses.replace(config, **places))
