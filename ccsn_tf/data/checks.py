"""What is worth knowing about a data set before one trains on it: of its lists, its videos and its records."""

import collections
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from ccsn_tf.config import Config, DataConfig
from ccsn_tf.data.datasets import Clip, Listing, Split, read_listing
from ccsn_tf.data.datasets.videos import videos_below
from ccsn_tf.data.plan import refuse_short
from ccsn_tf.data.prepare.encode import refuse_few_frames
from ccsn_tf.data.records.manifest import FILE_NAME, Manifest, StoredClip
from ccsn_tf.data.records.selection import cautions
from ccsn_tf.data.scan import Scanned, scan_records, scan_videos
from ccsn_tf.data.video import VideoError
from ccsn_tf.errors import UserError

_MOST_SHIFTED = 0.9  # of the labels that must be shifted by the same number
_MOST_UNUSABLE = 0.05  # share of the clips that may be missing without the set being another one
_PUBLISHED = ("ucf101", "hmdb51", "sthv2")  # whose splits are to be used as they are
_INCOMPLETE = ("hmdb51", "sthv2")  # whose lists leave videos out


@dataclasses.dataclass(frozen=True)
class Finding:
    """One fault.

    `kind` in a few words; `clip` that it is about, empty where it is about the whole; `message` one sentence.
    A finding that `blocks` would make training fail or its figures wrong; the others are warnings.
    """

    kind: str
    clip: str
    message: str
    blocks: bool = False


def may_train(findings: Sequence[Finding]) -> bool:
    """Whether nothing that was found blocks training."""
    return not any(finding.blocks for finding in findings)


def as_text(findings: Sequence[Finding]) -> str:
    """The findings by kind, those that block first, and the verdict."""
    lines = []
    for blocks, title in ((True, "Training may not start before this is put right:"), (False, "Warnings:")):
        by_kind = collections.defaultdict(list)
        for finding in findings:
            if finding.blocks == blocks:
                by_kind[finding.kind].append(f"    {finding.message}")
        lines += [title] if by_kind else []
        for kind, messages in by_kind.items():
            lines += [f"  {kind}: {len(messages)}", *messages]
    problems = sum(finding.blocks for finding in findings)
    verdict = f"Training {'may not' if problems else 'may'} start; problems: {problems}"
    return "\n".join([*lines, f"{verdict}, warnings: {len(findings) - problems}.\n"])


def check(config: Config, progress: Callable[[str], Callable[[int, int], None]]) -> list[Finding]:
    """Checks the videos if their folder or list is given, and the records if there are some in --record_dir.

    Args:
        config: as for training.
        progress: called with "videos" or "records", gives what is called with (clips done, clips in all).

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
            findings += check_videos(config, listing, scan_videos(listing.clips, data, progress("videos")))
    if data.record_dir and (not has_videos or pathlib.Path(data.record_dir, FILE_NAME).exists()):
        try:
            manifest = Manifest.read(data.record_dir)
        except UserError as error:
            findings.append(Finding("records", "", str(error), True))
        else:
            findings += check_records(config, manifest, scan_records(manifest, data, progress("records")))
            if listing and listing.classes != (data.classes or manifest.classes):
                message = "The records' classes are not those of the lists in their order: run prepare.py again."
                findings.append(Finding("classes differ", "", message, True))
    return list(dict.fromkeys(findings))  # videos and records may show the same


def check_lists(config: DataConfig, listing: Listing) -> Iterator[Finding]:
    """Yields what is wrong with the lists alone: no video is opened."""
    yield from (Finding("lists taken so", "", note) for note in listing.notes)
    yield from (Finding("listed but absent", name, reason) for name, reason in listing.absent)
    yield from _labels_against_folders(listing)
    if config.video_dir and config.dataset not in _INCOMPLETE:
        yield from _unlisted(config, listing)
    yield from groups(listing.clips, listing.splits)


def _labels_against_folders(listing):
    """Clips whose label is another class than their folder: one finding if all are shifted alike."""
    index = {name: number for number, name in enumerate(listing.classes)}
    folders = {clip: pathlib.PurePath(clip.path).parent.name for clip in listing.clips}
    shifts = {clip: index[clip.label] - index[folder] for clip, folder in folders.items() if folder in index}
    for shift, count in collections.Counter(shifts.values()).most_common(1):
        if shift and count >= _MOST_SHIFTED * len(shifts):
            message = (
                f"The lists' labels are {abs(shift)} too {'high' if shift > 0 else 'low'} for the folders' names "
                f"({count} of {len(shifts)} clips): number both from the same one."
            )
            yield Finding("labels off by one" if abs(shift) == 1 else "labels shifted", "", message, True)
            return
    for clip in (clip for clip, shift in shifts.items() if shift):
        message = f"{clip.path} is labelled {clip.label}, but lies in {folders[clip]}/."
        yield Finding("label of another class", clip.name, message, True)


def _unlisted(config, listing):
    listed = {os.path.abspath(clip.path) for clip in listing.clips}
    for name in videos_below(config.video_dir).paths:
        path, folders = os.path.join(config.video_dir, name), pathlib.PurePath(name).parts[:-1]
        left_out = config.classes and not set(folders) & set(config.classes)  # on purpose
        if not left_out and os.path.abspath(path) not in listed:
            yield Finding("in no list", name, f"{path} is in no list.")


def groups(clips: Iterable[Clip | StoredClip], splits: Mapping[int, Split]) -> Iterator[Finding]:
    """Groups of clips that belong together, as from one recording, of which some train and others test.

    A group belongs to its class: another class's group of the same name is another one.
    """
    group_of = {clip.name: (clip.label, clip.group) for clip in clips}
    for number, split in sorted(splits.items()):
        training, testing = ({group_of[name]: name for name in side if name in group_of} for side in split)
        for label, group in sorted(training.keys() & testing.keys()):
            train, test = training[label, group], testing[label, group]
            message = f"Group {group} of {label} trains ({train}) and tests ({test}) in split {number}"
            yield Finding("group on both sides", train, f"{message}: put it on one side.", True)


def same_videos(seen: Mapping[str, Scanned], splits: Mapping[int, Split], dataset: str) -> Iterator[Finding]:
    """Videos that are the same to the bit: on both sides of a split, or else under two names on one.

    The former block training, except on published splits: the first of UCF101 has such a pair (Basketball, g03_c01 and
    g23_c01).
    """
    same = collections.defaultdict(list)
    for name, look in sorted(seen.items()):
        if look.digest:
            same[look.digest].append(name)
    for names in (names for names in same.values() if len(names) > 1):
        sides = ([number, *(sorted({*names} & {*side}) for side in split)] for number, split in sorted(splits.items()))
        number, train, test = next((found for found in sides if all(found)), (None, names, names))
        if number is None:
            message = f"{' and '.join(names)} are the same video: remove all but one."
            yield Finding("same video twice", names[0], message)
        else:
            message = f"{train[0]} trains and {test[0]} tests in split {number}: they are the same video, remove one."
            yield Finding("same video on both sides", train[0], message, dataset not in _PUBLISHED)


def check_videos(config: Config, listing: Listing, seen: Mapping[str, Scanned]) -> Iterator[Finding]:
    """Yields what is wrong with the videos of `listing`; `seen` is from `scan_videos`."""
    unusable = set()
    for name, look in seen.items():
        kind, why = "unreadable", look.error
        try:
            if not look.error:
                refuse_few_frames(name, look.frames, config.model.flow_length, config.data.flow_stride)
        except VideoError as error:
            kind, why = "short", str(error)
        if why:
            unusable.add(name)
            yield Finding(kind, name, why)
        elif look.concealed:
            yield Finding("damaged in places", name, f"{name} has damaged parts in {look.concealed} of its frames.")
    yield from same_videos(seen, listing.splits, config.data.dataset)
    yield from _missing(config, listing, unusable)


def _missing(config, listing, unusable):
    """Classes that have no usable clip on a side of the split, and sets of which too much is missing."""
    missing, total = len(unusable) + len(listing.absent), len(listing.clips) + len(listing.absent)
    if missing > _MOST_UNUSABLE * total:
        message = f"{missing} of {total} clips are absent or cannot be used: complete the data set."
        yield Finding("much is missing", "", message, True)
    number, labels = config.data.split, {clip.name: clip.label for clip in listing.clips if clip.name not in unusable}
    if number not in listing.splits:
        known = ", ".join(map(str, sorted(listing.splits)))
        yield Finding("no such split", "", f"--split={number} is not in the lists: give one of {known}.", True)
        return
    training, test = ([labels[name] for name in names if name in labels] for names in listing.splits[number])
    for label in (label for label in listing.classes if label not in training):
        message = f"Class {label} has no usable training clip in split {number}"
        yield Finding("class without clips", "", f"{message}: add some, or leave it out with --classes.", True)
    yield from (Finding("few clips", "", caution) for caution in cautions(listing.classes, training, test))


def check_records(config: Config, manifest: Manifest, seen: Mapping[str, Scanned]) -> Iterator[Finding]:
    """Yields what is wrong with the records in `config.data.record_dir`; `seen` is from `scan_records`."""
    try:
        labels = []
        for side in ("train", "test"):
            classes, clips = manifest.select(config.data, side)
            refuse_short(clips, config.model.flow_length)
            labels.append([clip.label for clip in clips])
        yield from (Finding("few clips", "", caution) for caution in cautions(classes, *labels))
    except UserError as error:
        yield Finding("refused by train.py", "", str(error), True)
    for clip in manifest.clips:
        if fault := seen[clip.name].error:
            path = pathlib.Path(config.data.record_dir, clip.file)
            remedy = f"delete {path} and run prepare.py again, which restores it"
            yield Finding("damaged record", clip.name, f"{clip.name}: {fault}; {remedy}.", True)
    splits = {number: Split(**split) for number, split in manifest.splits.items()}
    yield from same_videos(seen, splits, manifest.settings["dataset"])
    yield from groups(manifest.clips, splits)
    for name, reason in sorted(manifest.skipped.items()):
        yield Finding("left out by prepare.py", name, reason)
