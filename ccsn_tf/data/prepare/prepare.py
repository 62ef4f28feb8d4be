"""Videos to records, on every core or on many machines; a record is there whole or not at all.

Killed at any moment and started again, preparation makes the records that are missing and nothing else. A video that
cannot be used, that kills its worker process or makes it hang is skipped and listed with the reason.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Sequence

from ccsn_tf.config import DataConfig
from ccsn_tf.data.datasets import Clip, Listing, read_listing
from ccsn_tf.data.frames import changed_at
from ccsn_tf.data.prepare.encode import Results, Skipped, record_pool, result_of
from ccsn_tf.data.records.manifest import FILE_NAME, VERSION, Manifest, refuse_other_settings, stored_settings
from ccsn_tf.data.records.record import record_file
from ccsn_tf.data.records.selection import cautions
from ccsn_tf.errors import UserError
from ccsn_tf.files import alone_in, names_in, read_if_there, write_text

SETTINGS = "settings.json"  # of the records, noted before the first one: no two preparations mix in a folder


def prepare(
    config: DataConfig,
    min_fields: int,
    progress: Callable[[int, int, int], None] = lambda done, total, frames: None,
    say: Callable[[str], None] = lambda text: None,
) -> Manifest:
    """Writes the records of every clip of `config.dataset` into `config.record_dir`, and their manifest.

    Args:
        config: data settings.
        min_fields: clips with fewer flow fields are skipped (`flow_length`).
        progress: called often, with (clips done, clips in all, frames decoded by this call).
        say: called with a sentence that the user should read.

    Returns:
        The manifest that was written; unusable clips are in its `skipped`, with the reason.

    Raises:
        UserError: bad settings or listing, a folder that holds other records or that another process works on, a full
            disk, or no usable clip at all.
    """
    if not config.record_dir:
        raise UserError("--record_dir is not given: name the folder to write records to.")
    listing = read_listing(config)
    for note in listing.notes:
        say(note)
    write, folder = _writer(config), pathlib.Path(config.record_dir)
    names = names_in(folder)
    if SETTINGS not in names and any(not name.startswith(".") for name in names):
        raise UserError(f"--record_dir={folder} holds other files, or older records: choose an empty or new folder.")
    with alone_in(folder):
        _claim(folder, config, min_fields)
        before, total = _manifest_before(folder), len(listing.clips)
        results = _done_before(folder, before, listing)
        missing, there = [clip for clip in listing.clips if clip.name not in results], len(results)
        progress(there, total, 0)
        if missing:
            results |= write(folder, missing, config, min_fields, lambda n, frames: progress(there + n, total, frames))
        manifest = _manifest(config, listing, results)
        if not manifest.clips:
            first = next(iter(manifest.skipped.values()))
            raise UserError(
                f"None of the {total} videos in --video_dir={config.video_dir} can be used, the first for this reason: "
                f"{first}"
            )
        if changes := before and _changes(before, manifest):
            say(f"{folder}: {changes}. The records are kept; runs trained before followed the old manifest.json.")
        if manifest != before:
            write_text(folder / FILE_NAME, manifest.to_json())
    for number, split in manifest.splits.items():
        labels = {clip.name: clip.label for clip in manifest.clips}
        sides = ([labels[name] for name in split[side] if name in labels] for side in ("train", "test"))
        for caution in cautions(manifest.classes, *sides):
            say(f"Split {number}: {caution}")
    return manifest


def _writer(config):
    """What writes records, called with (folder, clips, config, min_fields, progress)."""
    if "://" in config.record_dir:
        raise UserError(f"--record_dir={config.record_dir} is no folder of this machine: name one.")
    if config.runner == "local":
        return write_records
    try:
        from ccsn_tf.data.prepare import beam
    except ModuleNotFoundError as error:
        if error.name.split(".")[0] != "apache_beam":
            raise
        raise UserError(f"--runner={config.runner} needs Apache Beam: pip install 'ccsn_tf[beam]'.") from None
    return beam.write_records


def write_records(
    folder: pathlib.Path,
    clips: Sequence[Clip],
    config: DataConfig,
    min_fields: int,
    progress: Callable[[int, int], None],
) -> Results:
    """Writes the records of clips, a worker process a clip at a time, in the order of the list.

    Args:
        progress: called often, with (clips done, frames decoded).

    Raises:
        UserError: the disk is full, or no worker process starts.
    """
    results, frames = {}, 0

    def count(beats):
        nonlocal frames
        frames += beats
        progress(len(results), frames)

    with record_pool(config, min_fields, config.workers) as pool:
        for outcome in pool.run([(clip, str(folder / record_file(clip.name))) for clip in clips], on_beat=count):
            clip = clips[outcome.index]
            results[clip.name] = result_of(outcome, clip)
            progress(len(results), frames)
    return results


def _claim(folder: pathlib.Path, config: DataConfig, min_fields: int) -> None:
    """Notes what the records are made with. UserError: there are some that were made otherwise; it names the flag.

    Classes, labels and splits are not part of it: they can change without the records.
    """
    own = {"version": VERSION, "settings": stored_settings(config), "flow_length": min_fields}
    content = read_if_there(folder / SETTINGS)
    if content is None:
        write_text(folder / SETTINGS, json.dumps(own, indent=1) + "\n")
        return
    try:
        begun = dict(json.loads(content))
    except (ValueError, TypeError):
        raise UserError(f"{folder}/{SETTINGS} is damaged: empty the folder, or choose another --record_dir.") from None
    if begun.get("version") != VERSION:
        raise UserError(f"{folder} was begun by another version of this program: choose another --record_dir.")
    refuse_other_settings(begun["settings"], config, str(folder))
    if begun["flow_length"] != min_fields:
        raise UserError(
            f"--flow_length={min_fields}, but {folder} was begun with {begun['flow_length']}: pass that, or another "
            "--record_dir."
        )


def _manifest_before(folder) -> Manifest | None:
    """That of an earlier preparation, if it came to its end."""
    content = read_if_there(folder / FILE_NAME)
    try:
        return Manifest.from_json(content, FILE_NAME) if content else None
    except UserError:  # it is written anew
        return None


def _done_before(folder: pathlib.Path, before: Manifest | None, listing: Listing) -> Results:
    """What has not to be done again: records that are there, and videos that were no good and have not changed."""
    if not before:
        return {}
    known = {clip.name: clip for clip in before.clips}
    if not (known.keys() | before.skipped.keys()) & {clip.name for clip in listing.clips}:
        raise UserError(
            f"{folder} holds records of {len(known)} other clips, and none of the {len(listing.clips)} that are listed "
            "now: choose another --record_dir."
        )
    results = {}
    for clip in listing.clips:
        stored, change = known.get(clip.name), before.tried.get(clip.name)
        if stored and stored.size_in(folder) == stored.bytes:
            results[clip.name] = dataclasses.replace(stored, label=clip.label, group=clip.group)
        elif change is not None and change == changed_at(clip.path):
            results[clip.name] = Skipped(before.skipped[clip.name], change)
    return results


def _manifest(config: DataConfig, listing: Listing, results: Results) -> Manifest:
    stored, skipped = {}, {}
    for clip in listing.clips:
        found = results[clip.name]
        (skipped if isinstance(found, Skipped) else stored)[clip] = found
    return Manifest(
        settings=stored_settings(config),
        classes=listing.classes,
        splits={number: {"train": split.train, "test": split.test} for number, split in listing.splits.items()},
        clips=tuple(stored.values()),
        skipped={**dict(listing.absent), **{clip.name: found.reason for clip, found in skipped.items()}},
        skipped_labels={**listing.absent_labels, **{clip.name: clip.label for clip in skipped}},
        tried={clip.name: found.change for clip, found in skipped.items() if found.change is not None},
        mirrored=listing.mirrored,
        unused=listing.unused,
    )


def _changes(before: Manifest, after: Manifest) -> str:
    """What of the lists is not as it was, in words; empty: all is."""
    old, new = ({clip.name for clip in manifest.clips} for manifest in (before, after))

    def of_kept(manifest):
        splits = manifest.splits.items()
        return {
            "classes": manifest.classes,
            "labels": {clip.name: (clip.label, clip.group) for clip in manifest.clips if clip.name in old & new},
            "splits": {
                (n, side): [name for name in split[side] if name in old & new] for n, split in splits for side in split
            },
        }

    both = ((new - old, "added"), (old - new, "taken out"))
    counts = [f"{len(names)} clip{'s' if len(names) > 1 else ''} {verb}" for names, verb in both if names]
    was, now = of_kept(before), of_kept(after)
    changed = ", ".join(what for what in was if was[what] != now[what])
    return " and ".join([*counts, *([f"{changed} have changed"] if changed else [])])
