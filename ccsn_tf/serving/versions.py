"""The versions of a model, as TensorFlow Serving keeps them: folders with a number for a name."""

from __future__ import annotations

import pathlib
import re


def versions(folder: str | pathlib.Path) -> dict[int, pathlib.Path]:
    """{number: path} of what is in a folder under a number, in no order; nothing where there is no folder."""
    paths = pathlib.Path(folder).glob("*")
    return {int(path.name): path for path in paths if re.fullmatch("[0-9]+", path.name)}
