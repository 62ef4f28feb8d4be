"""The folder that records are written to, on this machine or a disk that it mounts."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator
from typing import BinaryIO

from ccsn_tf.files import whole_file


class LocalFolder:
    """Reads and writes files by name; a file is there whole or not at all."""

    def __init__(self, path: str | pathlib.Path):
        self.path = self.scratch = pathlib.Path(path)  # scratch: where temporary files go that no memory holds

    def __str__(self) -> str:
        return str(self.path)

    def names(self) -> list[str]:
        """Of all files, none if there is no folder."""
        return [path.name for path in self.path.iterdir()] if self.path.is_dir() else []

    def read(self, name: str) -> bytes | None:
        """A file's content, None if there is none."""
        try:
            return (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def size(self, name: str) -> int | None:
        """A file's size in bytes, None if there is none."""
        path = self.path / name
        return path.stat().st_size if path.is_file() else None

    @contextlib.contextmanager
    def whole(self, name: str) -> Iterator[BinaryIO]:
        """Yields a file to write to, which has its name once the block has ended well.

        Raises:
            UserError: the disk is full or the folder cannot be written to.
        """
        with whole_file(self.path / name) as beside, beside.open("wb") as file:
            yield file
