"""Files that are whole or absent."""

import contextlib
import fcntl
import os
import pathlib
import re
import shutil
import socket
import time
from collections.abc import Iterator

from ccsn_tf.errors import UserError

_SECONDS_TO_END = 2.0  # that a killed process may take to let go of its files


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
        raise _unwritable(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


@contextlib.contextmanager
def whole_folder(path: str | pathlib.Path) -> Iterator[pathlib.Path]:
    """`whole_file` for a new folder: yields one beside it, which is there, and empty."""
    path = pathlib.Path(path)
    beside = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        beside.mkdir(parents=True)
        yield beside
        os.rename(beside, path)
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_text(path: str | pathlib.Path, text: str) -> None:
    """Writes a text file whole."""
    with whole_file(path) as beside:
        beside.write_text(text, encoding="utf-8")


def remove_leftovers(folder: str | pathlib.Path) -> None:
    """Removes what `whole_file` left where its process was killed: in a folder, and in those two levels below it.

    What a running process is writing would go, too: to be called by the `only_process` there.
    """
    for place in (pathlib.Path(folder), *pathlib.Path(folder).glob("*/*/")):
        for path in place.iterdir():
            with contextlib.suppress(OSError):
                if re.match(r"\.\d+\.", path.name):
                    path.unlink()


@contextlib.contextmanager
def only_process(folder: str | pathlib.Path, patience: float = _SECONDS_TO_END) -> Iterator[bool]:
    """Keeps others that ask the same out of a folder; however this process ends, it keeps them out no longer.

    Args:
        folder: made if need be.
        patience: seconds to wait for another process that is there.

    Yields:
        Whether it does: some network disks know no locks.

    Raises:
        UserError: another process is there, or the folder cannot be written to.
    """
    path = pathlib.Path(folder, ".lock")
    deadline = time.monotonic() + patience
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while (locked := _open_locked(path)) is None:
            if time.monotonic() > deadline:
                raise UserError(f"{folder} is in use by {path.read_text().strip()}: wait for it, or end it.")
            time.sleep(0.05)
    except OSError as error:
        raise _unwritable(path, error) from None
    file, alone = locked
    with file:
        try:
            yield alone
        finally:
            with contextlib.suppress(OSError):
                path.unlink()


def _open_locked(path):
    """The file, open, and whether it is locked, for some disks know no locks; None while another process has it."""
    with contextlib.ExitStack() as stack:
        file, locked = stack.enter_context(path.open("a+", encoding="utf-8")), True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        except OSError:
            locked = False
        if not path.exists() or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return None  # its last owner has just removed it
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        stack.pop_all()
        return file, locked


def names_in(folder: str | pathlib.Path) -> list[str]:
    """Of all files in a folder, none if there is no folder. UserError: it cannot be read."""
    return _if_there(os.listdir, folder) or []


def read_if_there(path: str | pathlib.Path) -> bytes | None:
    """A file's content, None if there is none. UserError: it cannot be read."""
    return _if_there(pathlib.Path.read_bytes, pathlib.Path(path))


@contextlib.contextmanager
def alone_in(folder: str | pathlib.Path) -> Iterator[None]:
    """Keeps other processes out of a folder, and clears up in it, before and after; see `only_process`."""
    with only_process(folder) as alone:
        try:
            if alone:
                remove_leftovers(folder)
            yield
        finally:
            if alone:
                remove_leftovers(folder)


def _if_there(function, path):
    """What a function returns of a file or folder, None where there is none."""
    try:
        return function(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): choose another folder.") from None


def _unwritable(path, error):
    reason = os.strerror(error.errno) if error.errno else error  # h5py's own is a paragraph
    return UserError(f"{path} cannot be written ({reason}): free space, or choose another folder.")
