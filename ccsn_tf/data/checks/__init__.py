"""What is worth knowing about a data set before one trains on it."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

from ccsn_tf.config import Config
from ccsn_tf.data.checks.findings import Finding, as_json, as_text, may_train
from ccsn_tf.data.checks.lists import check_lists
from ccsn_tf.data.checks.records import check_records
from ccsn_tf.data.checks.videos import check_videos, scan
from ccsn_tf.data.datasets import read_listing
from ccsn_tf.data.records.manifest import FILE_NAME, Manifest
from ccsn_tf.errors import UserError

__all__ = ["Finding", "as_json", "as_text", "check", "may_train"]

Progress = Callable[[int, int], None]


def check(config: Config, progress: Callable[[str], Progress], *, thorough: bool = False) -> list[Finding]:
    """Checks the videos if their folder or list is given, and the records if there are some in --record_dir.

    Args:
        config: as for training.
        progress: called with "videos" or "records", gives what is called with (clips done, clips in all).
        thorough: decodes every JPEG of the records, not only the first and last ones of each clip.

    Raises:
        UserError: nothing is given.
    """
    data, findings, listing = config.data, [], None
    has_videos = data.video_dir or data.train_list
    if not has_videos and not data.record_dir:
        raise UserError("neither --video_dir nor --record_dir is given: name what is to be checked.")
    if has_videos:
        try:
            listing = read_listing(data)
        except UserError as error:
            findings.append(Finding("lists", "", str(error), True))
        else:
            findings += check_lists(data, listing)
            seen = scan(listing.clips, data, progress("videos"))
            findings += check_videos(config, listing, seen)
    if data.record_dir and (not has_videos or pathlib.Path(data.record_dir, FILE_NAME).exists()):
        try:
            manifest = Manifest.read(data.record_dir)
        except UserError as error:
            findings.append(Finding("records", "", str(error), True))
        else:
            findings += check_records(config, manifest, thorough, progress("records"))
            if listing and listing.classes != (data.classes or manifest.classes):
                message = "The records' classes are not those of the lists in their order: run prepare.py again."
                findings.append(Finding("classes differ", "", message, True))
    return list(dict.fromkeys(findings))  # videos and records may show the same
