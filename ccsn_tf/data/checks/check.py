"""Everything that is worth knowing about a data set before one trains on it."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable

from ccsn_tf.config import Config
from ccsn_tf.data.checks import lists, records, videos
from ccsn_tf.data.checks.findings import Finding
from ccsn_tf.data.checks.scan import scan
from ccsn_tf.data.datasets import Listing, read_listing
from ccsn_tf.data.datasets.listing import select_classes
from ccsn_tf.data.records.manifest import FILE_NAME, Manifest
from ccsn_tf.errors import UserError

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Depth:
    """How closely to look.

    `quick`: decodes only the ends of each video; `alike`: also looks for videos on both sides of a split that look the
    same; `thorough`: decodes every JPEG of the records.
    """

    quick: bool = False
    alike: bool = False
    thorough: bool = False


def check(config: Config, depth: Depth, progress: Callable[[str], Progress]) -> list[Finding]:
    """Checks the videos if their folder or list is given, and the records in --record_dir.

    Args:
        config: as for training.
        depth: how closely to look.
        progress: called with "videos" or "records", gives what is called with (done, in all).

    Returns:
        What was found, in no particular order.

    Raises:
        UserError: nothing is given.
    """
    findings, listing = [], None
    has_videos = config.data.video_dir or config.data.train_list
    if not has_videos and not config.data.record_dir:
        raise UserError("neither --video_dir nor --record_dir is given: name what is to be checked.")
    if has_videos:
        findings += lists.labels_against_class_index(config.data)
        try:
            listing = read_listing(config.data)
        except UserError as error:
            findings.append(Finding("lists", "", str(error), True))
        else:
            findings += _check_videos(config, listing, depth, progress)
    prepared = config.data.record_dir and pathlib.Path(config.data.record_dir, FILE_NAME).exists()
    if config.data.record_dir and (prepared or not has_videos):
        findings += _check_records(config, listing, depth, progress)
    return list(dict.fromkeys(findings))  # videos and records may show the same


def _check_videos(config, listing, depth, progress):
    scanned = scan(listing.clips, config.data, depth.quick, depth.alike, progress("videos"))
    findings = [finding for one in lists.CHECKS for finding in one(config, listing)]
    findings += lists.other_classes(listing.classes, config.train.workdir, "the lists")
    return findings + [finding for one in videos.CHECKS for finding in one(config, listing, scanned)]


def _check_records(config, listing: Listing | None, depth, progress):
    try:
        manifest = Manifest.read(config.data.record_dir)
        classes = select_classes(manifest.classes, config.data.classes, f"the records in {config.data.record_dir}")
    except UserError as error:
        return [Finding("records", "", str(error), True)]
    seen = records.read_records(manifest, config.data, depth.thorough, progress("records"))
    findings = [finding for one in records.CHECKS for finding in one(config, manifest, seen)]
    findings += lists.other_classes(classes, config.train.workdir, f"the records in {config.data.record_dir}")
    if listing:
        source = f"the records in {config.data.record_dir}"
        findings += lists.differing_classes(classes, source, listing.classes, "the lists")
    return findings
