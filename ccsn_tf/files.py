"""Files that are whole or absent."""

from __future__ import annotations

import contextlib
import os
import pathlib
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
        raise UserError(f"{path} cannot be written ({error.strerror}): free space, or choose another folder.") from None
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: str | pathlib.Path, text: str) -> None:
    """Writes a text file whole."""
    with whole_file(path) as beside:
        beside.write_text(text, encoding="utf-8")
