"""Videos to records: shard by shard on every core; a shard is there whole or not at all.

A shard's clips follow from the listing alone, so a restart redoes what is missing and nothing else, and two processes
that work on the same folder write the same bytes. Skipped videos are tried again when they have changed.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import json
import multiprocessing
import os
import pathlib
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool

import cv2
import tensorflow as tf

from ccsn_tf.config import DataConfig
from ccsn_tf.data.datasets import Clip, Listing, read_listing
from ccsn_tf.data.encode import encode_clip
from ccsn_tf.data.flow import make_estimator
from ccsn_tf.data.frames import changed_at
from ccsn_tf.data.manifest import Manifest, StoredClip, refuse_other_settings, stored_settings
from ccsn_tf.data.records import FOOTER_BYTES, HEADER_BYTES, serialise
from ccsn_tf.data.video import VideoError
from ccsn_tf.errors import UserError
from ccsn_tf.files import remove_leftovers, whole_file, write_text

Progress = Callable[[int, int], None]

_PLAN = "plan.json"
_counter = None  # clips done, shared by the worker processes of a pool


def prepare(config: DataConfig, min_fields: int, progress: Progress = lambda done, total: None) -> Manifest:
    """Writes the records of every clip of `config.dataset` into `config.record_dir`, and their manifest.

    Args:
        config: data settings.
        min_fields: clips with fewer flow fields are skipped (`flow_length`).
        progress: called now and then with (clips done, clips in all).

    Returns:
        The manifest that was written; unusable clips are in its `skipped`, with the reason.

    Raises:
        UserError: bad settings or listing, a folder that holds other records, or no usable clip at all.
    """
    if not config.record_dir:
        raise UserError("--record_dir is not given: name the folder to write records to.")
    begun = time.time()
    listing = read_listing(config)
    _claim(pathlib.Path(config.record_dir), config, listing, min_fields)
    shards = _shards(config, listing)
    missing = {name: clips for name, clips in shards.items() if not _is_whole(config, name, clips)}
    done, total = len(listing.clips) - sum(map(len, missing.values())), len(listing.clips)
    progress(done, total)
    _write_shards(config, min_fields, missing, lambda count: progress(done + count, total))
    progress(total, total)
    manifest = _collect(config, listing, shards)
    if not manifest.clips:
        first = next(iter(manifest.skipped.values()))
        raise UserError(
            f"None of the {total} videos in --video_dir={config.video_dir} can be used, the first for this reason: "
            f"{first}"
        )
    manifest.write(config.record_dir)
    remove_leftovers(config.record_dir, begun)
    return manifest


def _claim(folder: pathlib.Path, config: DataConfig, listing: Listing, min_fields: int) -> None:
    """Writes down what the folder is for, or checks that a folder which was begun is for the same."""
    clips = json.dumps([(clip.name, clip.label) for clip in listing.clips]).encode()
    layout = {"clips_per_shard": config.clips_per_shard, "flow_length": min_fields}
    plan = {"settings": stored_settings(config), **layout, "clips": hashlib.sha256(clips).hexdigest()}
    path = folder / _PLAN
    if path.is_file():
        try:
            begun = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise UserError(f"{path} is damaged: empty the folder, or choose another --record_dir.") from None
        refuse_other_settings(begun["settings"], config, config.record_dir)
        for name, asked in layout.items():
            if begun[name] != asked:
                raise UserError(
                    f"--{name}={asked}, but {folder} was begun with {begun[name]}: pass that, or another --record_dir."
                )
        if begun["clips"] != plan["clips"]:
            raise UserError(f"{folder} holds records of another list of clips: choose another --record_dir.")
    elif folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise UserError(f"--record_dir={folder} holds other files: choose an empty or new folder.")
    else:
        write_text(path, json.dumps(plan, indent=1) + "\n")


def _shards(config: DataConfig, listing: Listing) -> dict[str, list[Clip]]:
    size = config.clips_per_shard
    chunks = [list(listing.clips[start : start + size]) for start in range(0, len(listing.clips), size)]
    return {f"clips-{number:05d}-of-{len(chunks):05d}.tfrecord": chunk for number, chunk in enumerate(chunks)}


def _index_path(config: DataConfig, shard: str) -> pathlib.Path:
    return pathlib.Path(config.record_dir, shard).with_suffix(".json")


def _read_index(config: DataConfig, shard: str) -> dict | None:
    try:
        return json.loads(_index_path(config, shard).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # ValueError: emptied by a loss of power
        return None


def _is_whole(config: DataConfig, shard: str, clips: list[Clip]) -> bool:
    index, path = _read_index(config, shard), pathlib.Path(config.record_dir, shard)
    if index is None or not path.is_file() or path.stat().st_size != index["bytes"]:
        return False
    written = _index_path(config, shard).stat().st_mtime
    return all(changed_at(clip.path) <= written for clip in clips if clip.name in index["skipped"])


def _write_shards(config, min_fields, shards, progress) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = min(config.workers or cores, len(shards))
    if workers <= 1:
        finished = 0
        for name, clips in shards.items():
            _write_shard(config, min_fields, name, clips, lambda count, before=finished: progress(before + count))
            finished += len(clips)
        return
    context = multiprocessing.get_context("spawn")  # TensorFlow's threads do not survive a fork
    counter = context.Value("q", 0)
    with concurrent.futures.ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(counter,)
    ) as pool:
        with _deaf_to_interrupts():  # which the workers inherit: their imports would end in tracebacks
            waiting = {pool.submit(_write_shard, config, min_fields, name, clips) for name, clips in shards.items()}
        try:
            while waiting:
                done, waiting = concurrent.futures.wait(waiting, 0.5, concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    future.result()
                progress(counter.value)
        except BrokenProcessPool:
            raise UserError(
                f"One of the {workers} worker processes was killed, probably for lack of memory: run prepare.py again "
                "with fewer --workers; record files that are finished are kept."
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextlib.contextmanager
def _deaf_to_interrupts():
    if threading.current_thread() is not threading.main_thread():  # others cannot set signals
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _start_worker(counter) -> None:
    global _counter
    _counter = counter
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches everyone; the parent alone talks about it
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()  # otherwise the workers of a killed parent would wait for ever
    os._exit(1)


def _count_one(_) -> None:
    if _counter is not None:
        with _counter.get_lock():
            _counter.value += 1


def _write_shard(config: DataConfig, min_fields: int, name: str, clips: list[Clip], progress=_count_one) -> None:
    """Writes one record file, then its index: the index's presence says that the shard is whole."""
    path = pathlib.Path(config.record_dir, name)
    try:
        with whole_file(path) as beside, tf.io.TFRecordWriter(str(beside)) as writer:
            index = _write_records(config, min_fields, name, clips, writer, progress)
    except tf.errors.OpError as error:  # TensorFlow's file errors are no OSErrors
        raise UserError(f"{path} cannot be written ({error.message}): free space, or choose another folder.") from None
    write_text(_index_path(config, name), json.dumps(index) + "\n")


def _write_records(config, min_fields, shard, clips, writer, progress) -> dict:
    cv2.setNumThreads(1)  # one process a core: more threads would only wait for one another
    estimator = make_estimator(config)
    stored, skipped, offset = [], {}, 0
    for count, clip in enumerate(clips, start=1):
        try:
            encoded = encode_clip(clip.path, estimator, config, min_fields)
        except VideoError as error:
            skipped[clip.name] = str(error)
        else:
            record = serialise(clip.name, encoded)
            writer.write(record)
            size = {"fields": len(encoded.flow), "height": encoded.height, "width": encoded.width}
            place = {"shard": shard, "offset": offset, "length": len(record)}
            stored.append({"name": clip.name, "label": clip.label, "group": clip.group, **place, **size})
            offset += HEADER_BYTES + len(record) + FOOTER_BYTES
        progress(count)
    return {"bytes": offset, "clips": stored, "skipped": skipped}


def _collect(config: DataConfig, listing: Listing, shards) -> Manifest:
    indices = {name: _read_index(config, name) for name in shards}
    clips = tuple(StoredClip(**clip) for index in indices.values() for clip in index["clips"])
    skipped = dict(listing.absent)
    for index in indices.values():
        skipped.update(index["skipped"])
    return Manifest(
        settings=stored_settings(config),
        classes=listing.classes,
        splits={number: {"train": split.train, "test": split.test} for number, split in listing.splits.items()},
        shards={name: index["bytes"] for name, index in indices.items()},
        clips=clips,
        skipped=skipped,
        skipped_labels={clip.name: clip.label for clip in listing.clips if clip.name in skipped}
        | listing.absent_labels,
        mirrored=listing.mirrored,
        notes=listing.notes,
    )
