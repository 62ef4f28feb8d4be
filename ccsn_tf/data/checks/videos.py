"""Checks of what the videos of a data set hold, once they have been scanned."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping

import cv2
import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.data.checks import sides
from ccsn_tf.data.checks.findings import Finding
from ccsn_tf.data.checks.scan import Scanned
from ccsn_tf.data.datasets import Listing
from ccsn_tf.data.flow import make_estimator
from ccsn_tf.data.prepare.encode import refuse_few_frames
from ccsn_tf.data.video import VideoError, scaled_size

_MOST_UNUSABLE = 0.05  # share of the clips that may be missing without the set being another one
_USUAL = 0.9  # share of the videos whose size makes the others odd ones
_SURELY_LARGE = 64  # pixels: every flow algorithm takes such a frame

Scan = Mapping[str, Scanned]


def unreadable(config: Config, listing: Listing, scan: Scan) -> Iterator[Finding]:
    """Videos that cannot be decoded."""
    for name, seen in scan.items():
        if seen.error:
            yield Finding("unreadable", name, seen.error)


def hidden_damage(config: Config, listing: Listing, scan: Scan) -> Iterator[Finding]:
    """Videos with damage that the decoder painted over."""
    for name, seen in scan.items():
        if seen.decoded and seen.decoded.concealed:
            number = seen.decoded.concealed
            yield Finding(
                "damaged in places", name, f"{name} has {number} frame{'s' if number > 1 else ''} with damaged parts."
            )


def short(config: Config, listing: Listing, scan: Scan) -> Iterator[Finding]:
    """Videos with fewer frames than a snippet."""
    for name, reason in _short(config, scan):
        yield Finding("short", name, reason)


def _short(config, scan):
    for name, seen in scan.items():
        if seen.decoded and seen.decoded.frames:
            try:
                refuse_few_frames(name, seen.decoded.frames, config.model.flow_length, config.data.flow_stride)
            except VideoError as error:
                yield name, str(error)


def too_small_for_flow(config: Config, listing: Listing, scan: Scan) -> Iterator[Finding]:
    """Videos whose frames the flow algorithm refuses."""
    for name in _too_small(config, scan):
        decoded = scan[name].decoded
        yield Finding(
            "too small",
            name,
            f"{name} has frames of {decoded.width}x{decoded.height} pixels: --flow={config.data.flow} fails.",
        )


def _too_small(config, scan):
    fails = {}
    for name, seen in scan.items():
        if seen.decoded:
            size = scaled_size(seen.decoded.width, seen.decoded.height, config.data.short_side)
            if size not in fails:
                fails[size] = min(size) < _SURELY_LARGE and _flow_fails(config, *size)
            if fails[size]:
                yield name


def _flow_fails(config, width, height):
    if config.data.flow == "stored":
        return False
    blank = np.zeros((height, width), np.uint8)
    try:
        make_estimator(config.data)(blank, blank)
    except cv2.error:
        return True
    return False


def sizes(config: Config, listing: Listing, scan: Scan) -> Iterator[Finding]:
    """Videos of another size than nearly all others; or, of a set of many sizes, how many there are."""
    found = {name: (seen.decoded.width, seen.decoded.height) for name, seen in scan.items() if seen.decoded}
    if not found:
        return
    (usual, count), *others = collections.Counter(found.values()).most_common()
    if count >= _USUAL * len(found):
        for name, size in found.items():
            if size != usual:
                message = f"{name} is {size[0]}x{size[1]}, the others are {usual[0]}x{usual[1]} ({count} videos)."
                yield Finding("another size", name, message)
    else:
        message = f"The videos have {len(others) + 1} sizes; most often, {count} times, {usual[0]}x{usual[1]}."
        yield Finding("many sizes", "", message)


def smaller_than_the_network(config: Config, listing: Listing, scan: Scan) -> Iterator[Finding]:
    """How many videos have to be enlarged for the network."""
    side = config.model.image_size
    small = [
        name for name, seen in scan.items() if seen.decoded and min(seen.decoded.width, seen.decoded.height) < side
    ]
    if small:
        message = f"{len(small)} of {len(scan)} videos have a side shorter than --image_size={side}, as {small[0]}."
        yield Finding("enlarged for the network", "", message)


def unusable_classes(config: Config, listing: Listing, scan: Scan) -> Iterator[Finding]:
    """Classes that have no usable clip on a side of the split, and sets of which too much is missing."""
    unusable = {name for name, seen in scan.items() if seen.error}
    unusable.update(name for name, _ in _short(config, scan))
    unusable.update(_too_small(config, scan))
    labels = {clip.name: clip.label for clip in listing.clips}
    split = listing.splits.get(config.data.split)
    if not split:
        numbers = ", ".join(map(str, sorted(listing.splits)))
        yield Finding(
            "no such split", "", f"--split={config.data.split} is not in the lists: give one of {numbers}.", True
        )
        return
    for side, names in (("training", split.train), ("test", split.test)):
        usable = {labels[name] for name in names if name in labels and name not in unusable}
        for label in listing.classes:
            if label not in usable:
                message = f"Class {label} has no usable {side} clip in split {config.data.split}"
                yield Finding("class without clips", "", f"{message}: add some, or leave it out with --classes.", True)
    missing, total = len(unusable) + len(listing.absent), len(listing.clips) + len(listing.absent)
    if missing > _MOST_UNUSABLE * total:
        message = f"{missing} of {total} clips are absent or cannot be used: complete the data set."
        yield Finding("much is missing", "", message, True)


def duplicates(config: Config, listing: Listing, scan: Scan) -> Iterator[Finding]:
    """See `sides.same_videos`: here, files that are equal byte for byte."""
    yield from sides.same_videos(_digests(scan), _splits(listing), config.data.dataset)


def lookalikes(config: Config, listing: Listing, scan: Scan) -> Iterator[Finding]:
    """See `sides.lookalikes`."""
    likenesses = {name: seen.likeness for name, seen in scan.items()}
    yield from sides.lookalikes(likenesses, _digests(scan), _splits(listing))


def _digests(scan):
    return {name: seen.digest for name, seen in scan.items()}


def _splits(listing):
    return {number: (split.train, split.test) for number, split in listing.splits.items()}


CHECKS = (
    unusable_classes,
    duplicates,
    unreadable,
    short,
    too_small_for_flow,
    hidden_damage,
    sizes,
    smaller_than_the_network,
    lookalikes,
)
"""Each is called with the config, the listing and the scan."""
