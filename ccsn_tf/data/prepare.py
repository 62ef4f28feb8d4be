"""Videos to records, on every core; a record file is there whole or not at all.

A video is the unit of work, a record file that of safety: killed at any moment and started again, it redoes the files
that are missing and nothing else. A video that cannot be used, that kills its worker process or makes it hang is
skipped and listed with the reason.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable

from ccsn_tf.config import DataConfig
from ccsn_tf.data.claim import claim, refuse_other_files
from ccsn_tf.data.clip_record import Record, Skipped, make_record
from ccsn_tf.data.datasets import Clip, read_listing
from ccsn_tf.data.manifest import FILE_NAME, Manifest
from ccsn_tf.data.record_folder import LocalFolder
from ccsn_tf.data.shards import collect, is_missing, plan_shards, write_shard
from ccsn_tf.data.worker_pool import Outcome, WorkerLostError, WorkerPool
from ccsn_tf.errors import UserError
from ccsn_tf.files import only_process, remove_leftovers

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
    folder = LocalFolder(config.record_dir)
    refuse_other_files(folder)
    with only_process(config.record_dir) as alone:
        if alone:
            remove_leftovers(config.record_dir)
        claim(folder, config, listing, min_fields)
        shards = plan_shards(listing.clips, config.clips_per_shard)
        missing = [shard for shard in shards if is_missing(folder, shard)]
        _write_shards(folder, config, min_fields, missing, len(listing.clips), progress)
        manifest = collect(folder, config, listing, shards)
        if not manifest.clips:
            first = next(iter(manifest.skipped.values()))
            raise UserError(
                f"None of the {len(listing.clips)} videos in --video_dir={config.video_dir} can be used, the first for "
                f"this reason: {first}"
            )
        _write_manifest(folder, manifest, say)
    return manifest


def _write_shards(folder, config, min_fields, shards, total, progress):
    places = [(shard, position) for shard in shards for position in range(len(shard.clips))]
    done, frames, writers = total - len(places), 0, {}

    def count(beats):
        nonlocal frames
        frames += beats
        progress(done, total, frames)

    progress(done, total, frames)
    function = functools.partial(make_record, config=config, min_fields=min_fields)
    with WorkerPool(function, config.workers, config.stall_seconds) as pool, contextlib.ExitStack() as stack:
        for outcome in pool.run([(shard.clips[position],) for shard, position in places], on_beat=count):
            shard, position = places[outcome.index]
            if shard.name not in writers:
                writers[shard.name] = stack.enter_context(contextlib.closing(write_shard(folder, shard)))
                next(writers[shard.name])
            with contextlib.suppress(StopIteration):  # the shard's last clip
                writers[shard.name].send((position, result_of(outcome, shard.clips[position])))
            done += 1
            progress(done, total, frames)


def result_of(outcome: Outcome, clip: Clip) -> Record | Skipped:
    """What a worker made of a clip; where it died, hung or raised what it should not, the clip is to be tried again."""
    if isinstance(outcome.error, WorkerLostError):
        return Skipped(f"{clip.path}: {outcome.error}; the same command tries it again.", None)
    if outcome.error is not None:
        first_line = str(outcome.error).partition("\n")[0]
        return Skipped(f"{clip.path}: {type(outcome.error).__name__}: {first_line} (a defect, please report it)", None)
    return outcome.value


def _write_manifest(folder, manifest, say):
    before, content = folder.read(FILE_NAME), manifest.to_json().encode()
    if before == content:
        return
    changes = _changes(before, content)
    if changes:
        say(
            f"{folder}: {' and '.join(changes)} changed. manifest.json is written anew, the records are kept; what was "
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
