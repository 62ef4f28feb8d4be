"""The folder that predictions go to: it says what they were made with, and has every clip at most once.

    about.json           the model, the settings, where the clips are
    predictions.jsonl    JSON lines, appended batch by batch

A clip that has a row is done, and not done again.
"""

import json
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from ccsn_tf.errors import UserError
from ccsn_tf.files import names_in, read_if_there, write_text

ABOUT = "about.json"
LINES = "predictions.jsonl"
VERSION = 2  # of what is written


class Output:
    """Predictions in a folder.

    Args:
        about: JSON values. Under "bound", what must not change while the folder is filled; the rest is for people.

    Attributes:
        done: {name of a clip: whether it was predicted}.

    Raises:
        UserError: the folder holds something else, or predictions that were begun otherwise, or damaged ones.
    """

    def __init__(self, folder: pathlib.Path, about: dict):
        self._folder, self._about = folder, {**about, "bound": {"version": VERSION, **about["bound"]}}
        self._claim()
        self.done = _outcomes(self._whole_lines(), f"{folder}/{LINES}")

    def append(self, rows: Sequence[dict]) -> None:
        """Adds rows to the JSON lines; once this returns, they are on the disk.

        Raises:
            UserError: the disk is full.
        """
        path = self._folder / LINES
        try:
            with path.open("ab") as file:
                file.write("".join(json.dumps(row) + "\n" for row in rows).encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror}): free space, and start again.") from None
        self.done.update((row["video"], "error" not in row) for row in rows)

    def _whole_lines(self):
        """The JSON lines; what a killed run wrote of a line that it did not end is cut off."""
        content = read_if_there(self._folder / LINES) or b""
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            path = self._folder / LINES
            try:
                os.truncate(path, len(whole))
            except OSError as error:
                raise UserError(f"{path} cannot be written ({error.strerror}): choose another --output_dir.") from None
        return whole

    def _claim(self):
        content = read_if_there(self._folder / ABOUT)
        if content is None:
            others = [name for name in names_in(self._folder) if name[0] != "."]
            if others:
                raise UserError(f"{self._folder} holds other files ({min(others)}): choose an empty or new folder.")
            write_text(self._folder / ABOUT, json.dumps(self._about, indent=1) + "\n")
            return
        try:
            begun = dict(json.loads(content)["bound"])
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{self._folder}/{ABOUT} is damaged or none of ours: choose a new folder.") from None
        for name, value in self._about["bound"].items():
            if begun.get(name) != value:
                raise UserError(
                    f"{self._folder} was begun with {name} {begun.get(name)}, and this is {value}: choose another "
                    "--output_dir, or go on as it was begun."
                )


def prediction(name: str, scores: np.ndarray, classes: Sequence[str], top_k: int, all_scores: bool) -> dict:
    """The row of a clip that was predicted.

    Args:
        scores: float32 (classes,).
        classes: in label order.

    Returns:
        {"video", "top": [{"class", "score"}, ...], best first}, and "scores", in label order, if asked for.
    """
    if not np.isfinite(scores).all():
        return failure(name, f"{name}: the model's scores are not finite; try an export in float32.")
    best = np.argsort(-scores, kind="stable")[:top_k].tolist()
    row = {"video": name, "top": [{"class": classes[index], "score": float(scores[index])} for index in best]}
    return {**row, "scores": scores.tolist()} if all_scores else row


def failure(name: str, reason: str) -> dict:
    """The row of a clip that could not be predicted: {"video", "error"}."""
    return {"video": name, "error": reason}


def _outcomes(content, file):
    """{name: whether it was predicted} of a file's rows."""
    try:
        return {row["video"]: "error" not in row for row in map(json.loads, content.splitlines())}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} is damaged or none of ours ({error}): delete it, or choose another folder.") from None
