"""Data set readers: a layout on disk to a `Listing`."""

import dataclasses
import os
from collections.abc import Callable

from ccsn_tf.config import DataConfig
from ccsn_tf.config.settings import DATASETS, register
from ccsn_tf.data.datasets.folders_and_lists import read_folder, read_text_list
from ccsn_tf.data.datasets.listing import Clip, Listing, Split, require_folder
from ccsn_tf.data.datasets.published import read_hmdb51, read_sthv2, read_ucf101
from ccsn_tf.errors import UserError

__all__ = ["Clip", "Listing", "Split", "read_listing", "register_dataset"]

_READERS = {
    "ucf101": read_ucf101,
    "hmdb51": read_hmdb51,
    "sthv2": read_sthv2,
    "folder": read_folder,
    "list": read_text_list,
}


def register_dataset(name: str, reader: Callable[[DataConfig], Listing]) -> None:
    """Makes a data set of your own a choice of --dataset.

    A name that is taken is replaced, with a warning: a notebook's cell can be run twice.

    Args:
        name: string.
        reader: function of the settings (`video_dir`, `split_dir`, `classes` and others, as far as it wants them) that
            returns a `Listing`: the classes in label order, the clips, and which of them train and test in each split.

    Raises:
        UserError: no function, or the name "demo".
    """
    if not callable(reader):
        raise UserError(f"`reader` must be a function of the settings. Received: {reader!r}")
    if name == "demo":
        raise UserError("`name` demo is the set that is rendered: choose another name.")
    register("data set", name, reader, _READERS, DATASETS)


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
