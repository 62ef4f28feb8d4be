"""A folder that is written to, on this machine or a disk that it mounts."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import BinaryIO

from ccsn_tf.data.records.record import RECORDS
from ccsn_tf.errors import UserError
from ccsn_tf.files import only_process, remove_leftovers, whole_file


class LocalFolder:
    """Reads and writes files by name; a file is there whole or not at all.

    Every method raises UserError where the disk or its permissions do not let it.
    """

    def __init__(self, path: str | pathlib.Path):
        self.path = pathlib.Path(path)

    def __str__(self) -> str:
        return str(self.path)

    def names(self) -> list[str]:
        """Of all files, none if there is no folder."""
        return _if_there(os.listdir, self.path) or []

    def read(self, name: str) -> bytes | None:
        """A file's content, None if there is none."""
        return _if_there(pathlib.Path.read_bytes, self.path / name)

    def sizes(self, below: str) -> dict[str, int]:
        """{name: bytes} of the files at any depth below a folder of this one."""
        found = [pathlib.Path(place, name) for place, _, names in os.walk(self.path / below) for name in names]
        sizes = ((path, _if_there(os.path.getsize, path)) for path in found)
        return {path.relative_to(self.path).as_posix(): size for path, size in sizes if size is not None}

    @contextlib.contextmanager
    def whole(self, name: str) -> Iterator[BinaryIO]:
        """Yields a file to write to, which has its name once the block has ended well."""
        with whole_file(self.path / name) as beside, beside.open("wb") as file:
            yield file


@contextlib.contextmanager
def alone_in(folder: LocalFolder) -> Iterator[None]:
    """Keeps other processes out of a `LocalFolder`, and clears up in it; see `only_process`."""
    with only_process(folder.path) if isinstance(folder, LocalFolder) else contextlib.nullcontext() as alone:
        try:
            if alone:
                _clear(folder)
            yield
        finally:
            if alone:
                _clear(folder)


def _clear(folder):
    for path in (folder.path, *folder.path.glob(f"{RECORDS}/*/")):
        remove_leftovers(path)


def _if_there(function, path):
    """What a function returns of a file or folder, None where there is none."""
    try:
        return function(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): choose another folder.") from None
