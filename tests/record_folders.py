"""Folders of records for tests of preparation."""

import dataclasses
import pathlib

from ccsn_tf.data.prepare.prepare import prepare


def contents(folder):
    """{name: bytes} of everything below a folder."""
    return {path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir()}


def into(config, folder, **changes):
    return dataclasses.replace(config, record_dir=str(folder), **changes)


def shards_of(config):
    return sorted(pathlib.Path(config.record_dir).glob("*.tfrecord"))


def small_records(tiny_data, folder):
    """A config of 6 clips in 3 record files, prepared in a folder of its own."""
    config = into(tiny_data, folder, classes=("MoveLeft", "MoveRight"), clips_per_shard=4)
    prepare(config, 5)
    return config
