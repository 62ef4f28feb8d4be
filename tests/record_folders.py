"""Folders of records for tests of preparation."""

import dataclasses
import pathlib


def contents(folder):
    """{name: bytes} of everything in a folder."""
    return {path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir()}


def times(folder):
    """{name: when it was written} of the record files in a folder."""
    return {path.name: path.stat().st_mtime_ns for path in pathlib.Path(folder).glob("*.tfrecord")}


def into(config, folder, **changes):
    """A DataConfig with another record folder."""
    return dataclasses.replace(config, record_dir=str(folder), **changes)
