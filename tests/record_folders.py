"""Folders of records for tests of preparation."""

import dataclasses
import pathlib

from ccsn_tf.data.records.record import read_jpegs


def contents(folder):
    """{path: bytes} of all files in a folder, at any depth."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in _files(folder)}


def times(folder):
    """{path: when it was written} of the records in a folder."""
    return {path.name: path.stat().st_mtime_ns for path in _files(folder) if path.suffix == ".zip"}


def into(config, folder, **changes):
    """A DataConfig with another record folder."""
    return dataclasses.replace(config, record_dir=str(folder), **changes)


def all_jpegs(record_dir, clip):
    """The JPEGs of a clip's frames and of its fields, as bytes."""
    found = read_jpegs(
        pathlib.Path(record_dir, clip.file), clip.directory, clip.fields, range(clip.fields + 1), range(clip.fields)
    )
    return tuple([jpeg.tobytes() for jpeg in jpegs] for jpegs in found)


def _files(folder):
    return [path for path in pathlib.Path(folder).rglob("*") if path.is_file()]
