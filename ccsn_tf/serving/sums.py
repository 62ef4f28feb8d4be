"""SHA256SUMS: is an export what was written? Damage and mix-ups are found; who can write there can write both."""

from __future__ import annotations

import hashlib
import pathlib

from ccsn_tf.errors import UserError
from ccsn_tf.files import write_text
from ccsn_tf.serving import model_card

FILE_NAME = "SHA256SUMS"


def sha256(path: pathlib.Path) -> str:
    """Of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sums(export: str | pathlib.Path, *beside: pathlib.Path) -> None:
    """Writes the sums of all files below a folder into it, or those of a file and others beside it, there.

    They are as `sha256sum --check` takes them.

    Raises:
        UserError: they cannot be written.
    """
    sums = _sums_of(export)
    files = sorted(sums.parent.rglob("*")) if sums.name == FILE_NAME else [pathlib.Path(export), *beside]
    lines = [f"{sha256(path)}  {path.relative_to(sums.parent).as_posix()}\n" for path in files if path.is_file()]
    write_text(sums, "".join(lines))


def check_sums(export: str | pathlib.Path) -> None:
    """Checks an export, a folder or a file, if its sums are there: older ones have none.

    But for its model card, which people fill in.

    Raises:
        UserError: a file is missing or is not what was written.
    """
    sums = _sums_of(export)
    if not sums.is_file():
        return
    for line in sums.read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        path = sums.parent / name
        if not name.endswith(model_card.FILE_NAME) and not (path.is_file() and sha256(path) == digest):
            raise UserError(f"{path} is not the file that {sums} tells of: export the model again.")


def _sums_of(export):
    path = pathlib.Path(export)
    return path / FILE_NAME if path.is_dir() else path.with_name(f"{path.name}.sha256")
