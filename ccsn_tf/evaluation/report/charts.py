"""Charts of a report as HTML and SVG: sharp, small, and in the colours of the page's style sheet, light or dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

STREAMS = {"spatial": "spatial (RGB)", "temporal": "temporal (flow)", "fused": "fused"}

_MAX_LABEL = 30  # characters of a class name beside the matrix
_MAX_CLASSES_WITH_COUNTS = 20


def percent(fraction: float | None) -> str:
    """In percent with one decimal; "-" for None."""
    return "-" if fraction is None else f"{100 * fraction:.1f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """A table of escaped cells whose first column names the row."""
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    heads = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    lines = [
        f'<tr><th scope="row">{escape(name)}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
        for name, *cells in rows
    ]
    body = "".join(lines)
    return f'<div class="scroll"><table>{above}<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def class_bars(rows: Sequence[dict]) -> str:
    """Each class's top-1 in each stream as bars, the weakest fused first.

    Args:
        rows: of evaluation.json's `classes`. A class without clips has no bar.
    """
    ordered = sorted(rows, key=lambda row: (row["fused"] is None, row["fused"]))
    legend = "".join(f'<span class="key {stream}">{escape(label)}</span>' for stream, label in STREAMS.items())
    lines = []
    for row in ordered:
        bars = "".join(_bar(stream, row[stream]) for stream in STREAMS)
        clips = "1 clip" if row["clips"] == 1 else f"{row['clips']} clips"
        name = f"{escape(row['class'])} <small>{clips}</small>"
        lines.append(f'<div class="class"><div class="name">{name}</div><div class="bars">{bars}</div></div>')
    return f'<p class="legend">{legend}</p><div class="classes">{"".join(lines)}</div>'


def confusion_svg(confusion: np.ndarray, classes: Sequence[str]) -> str:
    """The confusion matrix, each row as shares of its clips; with the clips in numbers for up to 20 classes.

    Depth goes by the square root of the share, or the single mistakes of a good network would be as good as empty.
    Only cells with clips are drawn: the picture grows with the mistakes, not with the square of the classes.

    Args:
        confusion: integers (C, C), rows are the truth.
        classes: C names.
    """
    count = len(classes)
    with_counts = count <= _MAX_CLASSES_WITH_COUNTS
    cell, font = (34, 12) if with_counts else (11, 8)
    names = [name if len(name) <= _MAX_LABEL else name[: _MAX_LABEL - 1] + "…" for name in classes]
    margin = 10 + max(map(len, names)) * font * 0.6
    side = count * cell
    total = margin + side + 2
    parts = [f'<rect class="field" x="{margin:.0f}" y="{margin:.0f}" width="{side}" height="{side}"/>']
    for index, name in enumerate(names):
        middle = margin + (index + 0.5) * cell
        text = escape(name)
        parts.append(f'<text class="end" x="{margin - 6:.0f}" y="{middle + font / 3:.1f}">{text}</text>')
        turned = f"translate({middle + font / 3:.1f} {margin - 6:.1f}) rotate(-90)"
        parts.append(f'<text transform="{turned}">{text}</text>')
    clips = confusion.sum(axis=1)
    for row, column in np.argwhere(confusion):
        number, share = int(confusion[row, column]), confusion[row, column] / clips[row]
        x, y = margin + column * cell, margin + row * cell
        kind = "right" if row == column else "wrong"
        place = f'x="{x:.1f}" y="{y:.1f}" width="{cell - 1}" height="{cell - 1}"'
        title = f"{number} of {int(clips[row])} clips of {classes[row]} taken for {classes[column]}"
        parts.append(
            f'<rect class="{kind}" {place} fill-opacity="{share**0.5:.2f}"><title>{escape(title)}</title></rect>'
        )
        if with_counts:
            ink = "deep" if share > 0.45 else "pale"
            at = f'x="{x + cell / 2:.1f}" y="{y + cell / 2 + font / 3:.1f}"'
            parts.append(f'<text class="count {ink}" {at}>{number}</text>')
    least = total if not with_counts else min(total, 340)
    return (
        f'<div class="scroll"><svg role="img" aria-label="Confusion matrix of {count} classes" '
        f'viewBox="0 0 {total:.0f} {total:.0f}" style="max-width:{total:.0f}px;min-width:{least:.0f}px" '
        f'font-size="{font}">{"".join(parts)}</svg></div>'
    )


def _bar(stream, fraction):
    if fraction is None:
        return f'<div class="bar {stream}"><b>no clips</b></div>'
    width = f"{100 * fraction:.1f}%"
    return f'<div class="bar {stream}"><i style="width:{width}"></i><b>{percent(fraction)}</b></div>'
