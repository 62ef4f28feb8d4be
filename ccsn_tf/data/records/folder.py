"""A folder that is written to, on this machine or a disk that it mounts."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator
from typing import BinaryIO

from ccsn_tf.errors import UserError
from ccsn_tf.files import only_process, remove_leftovers, whole_file


class LocalFolder:
    """Reads and writes files by name; a file is there whole or not at all.

    Every method raises UserError where the disk or its permissions do not let it.
    """

    def __init__(self, path: str | pathlib.Path):
        self.path = self.scratch = pathlib.Path(path)  # scratch: for what memory cannot hold

    def __str__(self) -> str:
        return str(self.path)

    def names(self) -> list[str]:
        """Of all files, none if there is no folder."""
        with _errors_as_sentences(self.path):
            return [path.name for path in self.path.iterdir()]
        return []

    def read(self, name: str) -> bytes | None:
        """A file's content, None if there is none."""
        with _errors_as_sentences(self.path / name):
            return (self.path / name).read_bytes()
        return None

    def size(self, name: str) -> int | None:
        """A file's size in bytes, None if there is none."""
        with _errors_as_sentences(self.path / name):
            return (self.path / name).stat().st_size
        return None

    @contextlib.contextmanager
    def whole(self, name: str) -> Iterator[BinaryIO]:
        """Yields a file to write to, which has its name once the block has ended well."""
        with whole_file(self.path / name) as beside, beside.open("wb") as file:
            yield file


@contextlib.contextmanager
def alone_in(folder: LocalFolder) -> Iterator[None]:
    """Keeps other processes out of a folder of this machine, or one that it mounts, and clears up; see `only_process`.

    Nothing of the kind for a `BeamFolder`.
    """
    if not isinstance(folder, LocalFolder):
        yield
        return
    with only_process(folder.path) as alone:
        if alone:
            remove_leftovers(folder.path)
        yield


@contextlib.contextmanager
def _errors_as_sentences(path):
    """Leaves the block where the file does not exist."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): choose another folder.") from None
