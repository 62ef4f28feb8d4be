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
from ccsn_tf.data.prepare import local as prepare_local
from ccsn_tf.data.prepare.lock import claim, refuse_other_files
from ccsn_tf.data.records.folder import LocalFolder, alone_in
from ccsn_tf.data.records.manifest import FILE_NAME, Manifest
from ccsn_tf.data.records.shards import collect, is_missing, plan_shards
from ccsn_tf.errors import UserError

Progress = Callable[[int, int, int], None]


def prepare(
    config: DataConfig,
    min_fields: int,
    progress: Progress = lambda done, total, frames: None,
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
    folder, write_shards = _folder_and_writer(config)
    refuse_other_files(folder)
    with alone_in(folder):
        claim(folder, config, listing, min_fields)
        shards = plan_shards(listing.clips, config.clips_per_shard)
        missing = [shard for shard in shards if is_missing(folder, shard)]
        total = len(listing.clips)
        there = total - sum(len(shard.clips) for shard in missing)
        progress(there, total, 0)
        if missing:
            write_shards(
                folder, missing, config, min_fields, lambda done, frames: progress(there + done, total, frames)
            )
        manifest = collect(folder, config, listing, shards)
        if not manifest.clips:
            first = next(iter(manifest.skipped.values()))
            raise UserError(
                f"None of the {total} videos in --video_dir={config.video_dir} can be used, the first for this reason: "
                f"{first}"
            )
        _write_manifest(folder, manifest, say)
    return manifest


def _folder_and_writer(config):
    """The record folder, and the function that writes shards into it."""
    if config.runner == "local":
        if "://" in config.record_dir:
            raise UserError(f"--record_dir={config.record_dir} is no folder of this machine: pass another --runner.")
        return LocalFolder(config.record_dir), prepare_local.write_shards
    try:
        from ccsn_tf.data import beam
        from ccsn_tf.data.prepare import beam as prepare_beam
    except ModuleNotFoundError as error:
        if error.name.split(".")[0] != "apache_beam":
            raise
        raise UserError(f"--runner={config.runner} needs Apache Beam: pip install 'ccsn_tf[beam]'.") from None
    return beam.open_folder(config.record_dir, config), prepare_beam.write_shards


def _write_manifest(folder, manifest, say):
    before, content = folder.read(FILE_NAME), manifest.to_json().encode()
    if before == content:
        return
    changes = _changes(before, content)
    if changes:
        say(
            f"{folder}: {' and '.join(changes)} changed. manifest.json is written anew, the records are kept; runs "
            "trained before followed the old one."
        )
    with folder.whole(FILE_NAME) as file:
        file.write(content)


def _changes(before: bytes | None, after: bytes) -> list[str]:
    """What of the lists is not as it was, in words; nothing where there was no manifest, or a damaged one."""
    try:
        before, after = dict(json.loads(before or b"")), json.loads(after)
        labels = [{clip["name"]: (clip["label"], clip["group"]) for clip in m["clips"]} for m in (before, after)]
        names = labels[0].keys() & labels[1].keys()
        same = {
            "the order of the classes": before["classes"] == after["classes"],
            "the division into training and test clips": before["splits"] == after["splits"],
            "the labels of clips": all(labels[0][name] == labels[1][name] for name in names),
        }
    except (ValueError, TypeError, KeyError):
        return []
    return [what for what, unchanged in same.items() if not unchanged]
