"""Record files copied to a fast local disk, to be read from there epoch after epoch."""

from __future__ import annotations

import hashlib
import math
import pathlib
import shutil
from collections.abc import Callable, Iterable

from ccsn_tf.data.records.manifest import FILE_NAME, StoredClip
from ccsn_tf.errors import UserError
from ccsn_tf.files import only_process, remove_leftovers, whole_file


def cache_records(
    record_dir: str,
    cache: str,
    clips: Iterable[StoredClip],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> str:
    """Copies the record files that `clips` are in, those that are not copied yet.

    Whole files, each there whole or not at all: a copy that was interrupted is taken up where it stopped, and of
    several processes that ask for the same one copies and the others wait. Nothing is ever removed: other records have
    other folders in the cache.

    Args:
        record_dir: the record folder.
        cache: folder to copy to.
        clips: of its manifest.
        progress: called with (megabytes there, megabytes in all).

    Returns:
        The folder of the copies, to be read in the place of `record_dir`.

    Raises:
        UserError: the cache has too little space, or cannot be written to.
    """
    source = pathlib.Path(record_dir)
    contents = hashlib.sha256((source / FILE_NAME).read_bytes()).hexdigest()
    folder = pathlib.Path(cache, f"{source.resolve().name}-{contents[:12]}")
    sizes = {name: (source / name).stat().st_size for name in sorted({clip.shard for clip in clips})}
    if not _missing(folder, sizes):
        return str(folder)
    with only_process(folder, patience=math.inf) as alone:
        if alone:
            remove_leftovers(folder)
        missing = _missing(folder, sizes)
        _refuse_too_many(cache, folder, sum(missing.values()))
        total = sum(sizes.values())
        done = total - sum(missing.values())
        for name, size in missing.items():
            progress(done // 10**6, total // 10**6)
            with whole_file(folder / name) as beside:
                shutil.copyfile(source / name, beside)
            done += size
        progress(total // 10**6, total // 10**6)
    return str(folder)


def _missing(folder: pathlib.Path, sizes: dict[str, int]) -> dict[str, int]:
    there = {path.name: path.stat().st_size for path in folder.glob("*.tfrecord")}
    return {name: size for name, size in sizes.items() if there.get(name) != size}


def _refuse_too_many(cache, folder, needed):
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"--cache={cache} has {free / 1e9:.1f} GB free, and the record files to copy there need {needed / 1e9:.1f} "
            "GB: free space, name another folder, or train without --cache."
        )
