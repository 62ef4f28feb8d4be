"""The figures of each epoch: history.csv, history.png, TensorBoard."""

from __future__ import annotations

import csv
import importlib.util
import io
import pathlib

import tensorflow as tf

from ccsn_tf.errors import UserError
from ccsn_tf.files import write_text


class History:
    """Rows of figures, one an epoch, written anew to `workdir` after each.

    Args:
        workdir: receives history.csv, history.png and, where the package tensorboard is installed, tensorboard/.
        rows: of the epochs before, when a run goes on.
    """

    def __init__(self, workdir: pathlib.Path, rows: list[dict]):
        self.rows = list(rows)
        self._workdir = workdir
        self._notes = []
        self._writer = None
        if importlib.util.find_spec("tensorboard"):
            self._writer = tf.summary.create_file_writer(str(workdir / "tensorboard"))
        else:
            self._notes.append("no tensorboard/: pip install 'ccsn_tf[tensorboard]'")

    def add(self, row: dict) -> None:
        """Appends an epoch's row ({"epoch": from 1, name: number}) and writes everything."""
        self.rows.append(row)
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO()
        table = csv.DictWriter(text, names, lineterminator="\n")
        table.writeheader()
        table.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in self.rows)
        write_text(self._workdir / "history.csv", text.getvalue())
        self._draw()
        if self._writer:
            with self._writer.as_default(step=row["epoch"]):
                for name, value in row.items():
                    tf.summary.scalar(name.replace("val_", "validation/"), value)
            self._writer.flush()

    def notes(self) -> list[str]:
        """What could not be written for want of an optional package; each is told once."""
        notes, self._notes = self._notes, []
        return notes

    def _draw(self):
        from ccsn_tf.evaluation.figures import save_history

        try:
            save_history(self.rows, self._workdir / "history.png")
        except UserError as error:
            if len(self.rows) == 1:
                self._notes.append(f"no history.png: {error}")
