"""Files that are whole or absent."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
from collections.abc import Iterator

from ccsn_tf.errors import UserError


@contextlib.contextmanager
def whole_file(path: str | pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a path beside `path` to write to, and renames it when the block ends well; removes it otherwise.

    Raises:
        UserError: the disk is full or the folder cannot be written to.
    """
    path = pathlib.Path(path)
    beside = path.with_name(f".{os.getpid()}.{path.name}")  # keeps the suffix, which some writers look at
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        os.replace(beside, path)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{path} cannot be written ({reason}): free space, or choose another folder.") from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def write_text(path: str | pathlib.Path, text: str) -> None:
    """Writes a text file whole."""
    with whole_file(path) as beside:
        beside.write_text(text, encoding="utf-8")


def remove_leftovers(folder: str | pathlib.Path, before: float) -> None:
    """Removes what `whole_file` left in a folder where its process was killed.

    Args:
        folder: the folder; those below it are left alone.
        before: seconds since the epoch; what was written to since may belong to a process that runs.
    """
    for path in pathlib.Path(folder).iterdir():
        with contextlib.suppress(OSError):  # another process may have been faster
            if re.match(r"\.\d+\.", path.name) and path.stat().st_mtime < before:
                path.unlink()
