"""Videos to records, on every core or on many machines; a record file is there whole or not at all.

A video is the unit of work, a record file (shard) that of safety: killed at any moment and started again, preparation
redoes the shards that are missing and nothing else. A video that cannot be used, that kills its worker process or
makes it hang is skipped and listed with the reason.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from ccsn_tf.config import DataConfig
from ccsn_tf.data.datasets import read_listing
from ccsn_tf.data.datasets.listing import Listing
from ccsn_tf.data.prepare.shards import write_shards
from ccsn_tf.data.records.folder import LocalFolder, alone_in
from ccsn_tf.data.records.manifest import FILE_NAME, VERSION, Manifest, refuse_other_settings, stored_settings
from ccsn_tf.data.records.selection import cautions
from ccsn_tf.data.records.write import collect, is_missing, plan_shards
from ccsn_tf.errors import UserError

PLAN = "plan.json"  # what a record folder is for, noted before the first record: no two preparations mix in it
_VERSION = 3  # of the plan and the shards' indices


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
    folder, write = _folder_and_writer(config)
    names = folder.names()
    if PLAN not in names and any(not name.startswith(".") for name in names):
        raise UserError(f"--record_dir={folder} holds other files: choose an empty or new folder.")
    with alone_in(folder):
        shards = plan_shards(_lists(folder, config, listing, min_fields), listing.clips, config.clips_per_shard)
        missing, total = [shard for shard in shards if is_missing(folder, shard)], len(listing.clips)
        there = total - sum(len(shard.clips) for shard in missing)
        progress(there, total, 0)
        if missing:
            write(folder, missing, config, min_fields, lambda done, frames: progress(there + done, total, frames))
        manifest = collect(folder, config, listing, shards)
        if not manifest.clips:
            first = next(iter(manifest.skipped.values()))
            raise UserError(
                f"None of the {total} videos in --video_dir={config.video_dir} can be used, the first for this reason: "
                f"{first}"
            )
        _write_manifest(folder, manifest, say)
    for number, split in manifest.splits.items():
        labels = {clip.name: clip.label for clip in manifest.clips}
        sides = ([labels[name] for name in split[side] if name in labels] for side in ("train", "test"))
        for caution in cautions(manifest.classes, *sides):
            say(f"Split {number}: {caution}")
    return manifest


def _folder_and_writer(config):
    """The record folder, and what writes shards into it, called with (folder, shards, config, min_fields, progress)."""
    if config.runner == "local":
        if "://" in config.record_dir:
            raise UserError(f"--record_dir={config.record_dir} is no folder of this machine: pass another --runner.")
        return LocalFolder(config.record_dir), write_shards
    try:
        from ccsn_tf.data.prepare import beam
    except ModuleNotFoundError as error:
        if error.name.split(".")[0] != "apache_beam":
            raise
        raise UserError(f"--runner={config.runner} needs Apache Beam: pip install 'ccsn_tf[beam]'.") from None
    return beam.open_folder(config.record_dir, config), beam.write_shards


def _lists(folder: LocalFolder, config: DataConfig, listing: Listing, min_fields: int) -> list[list[str]]:
    """The clips that the folder has or is to receive (see `plan_shards`); notes them, and what the folder is for.

    Classes, labels and splits are not part of it: they can change without the records.

    Raises:
        UserError: it was begun for something else; the message names the flag or file.
    """
    layout = {"clips_per_shard": config.clips_per_shard, "flow_length": min_fields}
    plan = {"version": _VERSION, "manifest_version": VERSION, "settings": stored_settings(config), **layout}
    content, names = folder.read(PLAN), [clip.name for clip in listing.clips]
    lists = [names] if content is None else _begun_lists(folder, config, content, plan, layout)
    known = {name for before in lists for name in before}
    if not known & set(names):
        raise UserError(
            f"{folder} holds records of {len(known)} other clips, and none of the {len(names)} that are listed now: "
            "choose another --record_dir."
        )
    new = [name for name in names if name not in known]
    if content is None or new:
        lists += [new] if new else []
        with folder.whole(PLAN) as file:
            file.write((json.dumps({**plan, "lists": lists}, indent=1) + "\n").encode())
    return lists


def _begun_lists(folder, config, content, plan, layout):
    try:
        begun = dict(json.loads(content))
    except (ValueError, TypeError):
        raise UserError(f"{folder}/{PLAN} is damaged: empty the folder, or choose another --record_dir.") from None
    if any(begun.get(name, 1) != plan[name] for name in ("version", "manifest_version")):
        raise UserError(f"{folder} was begun by another version of this program: choose another --record_dir.")
    refuse_other_settings(begun["settings"], config, str(folder))
    for name, asked in layout.items():
        if begun[name] != asked:
            raise UserError(
                f"--{name}={asked}, but {folder} was begun with {begun[name]}: pass that, or another --record_dir."
            )
    return begun["lists"]


def _write_manifest(folder, manifest, say):
    before, content = folder.read(FILE_NAME), manifest.to_json().encode()
    if before == content:
        return
    changes = _changes(before, content)
    if changes:
        say(
            f"{folder}: {' and '.join(changes)}. manifest.json is written anew, the records are kept; runs trained "
            "before followed the old one."
        )
    with folder.whole(FILE_NAME) as file:
        file.write(content)


def _changes(before: bytes | None, after: bytes) -> list[str]:
    """What of the lists is not as it was, in words; nothing where there was no manifest, or a damaged one."""
    try:
        before, after = dict(json.loads(before or b"")), json.loads(after)
        labels = [{clip["name"]: (clip["label"], clip["group"]) for clip in m["clips"]} for m in (before, after)]
        sides = [
            {(n, s, x) for n, split in m["splits"].items() for s in split for x in split[s]} for m in (before, after)
        ]
        added, gone = labels[1].keys() - labels[0].keys(), labels[0].keys() - labels[1].keys()
        same = {
            "the order of the classes": before["classes"] == after["classes"],
            "the division into training and test clips": all(name in added | gone for *_, name in sides[0] ^ sides[1]),
            "the labels of clips": all(labels[0][name] == labels[1][name] for name in labels[0].keys() - gone),
        }
    except (ValueError, TypeError, KeyError):
        return []
    changed = " and ".join(what for what, unchanged in same.items() if not unchanged)
    both = ((added, "added"), (gone, "taken out"))
    counts = [f"{len(names)} clip{'s' if len(names) > 1 else ''} {verb}" for names, verb in both if names]
    return [*counts, *([f"{changed} changed"] if changed else [])]
