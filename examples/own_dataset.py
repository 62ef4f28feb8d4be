"""A data set of your own: a function of the settings that returns a `Listing`.

    python scripts/prepare.py --plugins=examples/own_dataset.py --dataset=sheet --video_dir=VIDEOS --record_dir=R

reads VIDEOS/clips.csv, whose columns are video (a path below VIDEOS), label, group (clips of one recording or person,
which must not be split between training and test) and side (train or test).
"""

import csv
import pathlib

import ccsn_tf as ct


def read_sheet(config):
    """Clips by the rows of clips.csv, in one split."""
    root = pathlib.Path(config.video_dir)
    with open(root / "clips.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if not config.classes or row["label"] in config.classes]
    clips = [ct.Clip(row["video"], str(root / row["video"]), row["label"], row["group"]) for row in rows]
    sides = {side: tuple(row["video"] for row in rows if row["side"] == side) for side in ("train", "test")}
    classes = config.classes or tuple(sorted({clip.label for clip in clips}))
    return ct.Listing(classes, tuple(clips), {1: ct.Split(**sides)})


ct.register_dataset("sheet", read_sheet)
