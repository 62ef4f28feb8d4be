"""Predictions as rows, and rows as the content of a file: JSON lines, or Parquet."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence

import numpy as np

from ccsn_tf.errors import UserError
from ccsn_tf.serving import optional

# Name -> ending of its files.
FORMATS = {"jsonl": ".jsonl", "parquet": ".parquet"}


def prediction(name: str, scores: np.ndarray, classes: Sequence[str], top_k: int, all_scores: bool) -> dict:
    """The row of a clip that was predicted.

    Args:
        name: the clip's.
        scores: float32 (classes,).
        classes: in label order.
        top_k: classes to name.
        all_scores: whether the row has every class's score, too, in label order.

    Returns:
        {"video", "top": [{"class", "score"}, ...], best first}, and "scores" if asked for.
    """
    if not np.isfinite(scores).all():
        return failure(name, f"{name}: the model's scores are not finite; try an export in float32.")
    best = np.argsort(-scores, kind="stable")[:top_k].tolist()
    row = {"video": name, "top": [{"class": classes[index], "score": float(scores[index])} for index in best]}
    return {**row, "scores": scores.tolist()} if all_scores else row


def failure(name: str, reason: str) -> dict:
    """The row of a clip that could not be predicted: {"video", "error"}."""
    return {"video": name, "error": reason}


def to_bytes(rows: Sequence[dict], format: str) -> bytes:
    """Rows as the content of a file; those of "jsonl" may be joined.

    Raises:
        UserError: Parquet without pyarrow, or with a file name that is not UTF-8.
    """
    if format == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    arrow, parquet = optional("pyarrow", "parquet"), optional("pyarrow.parquet", "parquet")
    schema = arrow.schema(
        [
            ("video", arrow.string()),
            ("top_classes", arrow.list_(arrow.string())),
            ("top_scores", arrow.list_(arrow.float32())),
            ("scores", arrow.list_(arrow.float32())),
            ("error", arrow.string()),
        ]
    )
    content = io.BytesIO()
    try:
        parquet.write_table(arrow.Table.from_pylist([_columns(row) for row in rows], schema), content)
    except UnicodeEncodeError as error:
        raise UserError(
            f"{error.object!r} is not UTF-8, as Parquet wants names: rename it, or pass --format=jsonl."
        ) from None
    return content.getvalue()


def outcomes(content: bytes, format: str, file: str) -> dict[str, bool]:
    """{name: whether it was predicted} of a file's rows.

    Args:
        content: of the file, which may be empty.
        format: one of `FORMATS`.
        file: for the message.

    Raises:
        UserError: the file holds anything else.
    """
    try:
        if format == "jsonl":
            rows = [json.loads(line) for line in content.splitlines()]
        else:
            source = optional("pyarrow", "parquet").BufferReader(content)
            rows = optional("pyarrow.parquet", "parquet").read_table(source, columns=["video", "error"]).to_pylist()
        return {row["video"]: not row.get("error") for row in rows}
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:  # pyarrow's errors are among them
        reason = " ".join(str(error).split())
        raise UserError(f"{file} is damaged or none of ours ({reason}): delete it, or choose another folder.") from None


def _columns(row):
    top = row.get("top")
    return {
        "video": row["video"],
        "top_classes": top and [entry["class"] for entry in top],
        "top_scores": top and [entry["score"] for entry in top],
        "scores": row.get("scores"),
        "error": row.get("error"),
    }
