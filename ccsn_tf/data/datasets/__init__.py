"""Data set readers: a layout on disk to a `Listing`."""

from ccsn_tf.config import DataConfig
from ccsn_tf.data.datasets.folder import read_folder
from ccsn_tf.data.datasets.hmdb51 import read_hmdb51
from ccsn_tf.data.datasets.listing import Clip, Listing, Split, require_folder
from ccsn_tf.data.datasets.sthv2 import read_sthv2
from ccsn_tf.data.datasets.text_list import read_text_list
from ccsn_tf.data.datasets.ucf101 import read_ucf101

__all__ = ["Clip", "Listing", "Split", "read_listing"]


def read_listing(config: DataConfig) -> Listing:
    """Lists the clips of `config.dataset` (the demo set is laid out as UCF101, below its --video_dir).

    Raises:
        UserError: see the readers.
    """
    if config.dataset == "folder":
        return read_folder(config.video_dir, config.classes, config.test_fraction)
    if config.dataset == "list":
        lists = (config.train_list, config.test_list, config.class_file)
        return read_text_list(config.video_dir, *lists, config.classes, config.test_fraction)
    if config.dataset == "demo":
        root = require_folder(config.video_dir, "video_dir")
        return read_ucf101(str(root / "videos"), str(root / "ucfTrainTestlist"), config.classes)
    read = {"ucf101": read_ucf101, "hmdb51": read_hmdb51, "sthv2": read_sthv2}[config.dataset]
    return read(config.video_dir, config.split_dir, config.classes)
