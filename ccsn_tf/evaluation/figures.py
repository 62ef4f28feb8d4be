"""Pictures of a training run and of an evaluation.

matplotlib draws them; it is optional (`pip install 'ccsn_tf[figures]'`) and imported when the first one is asked for.
Figures are objects on an Agg canvas: no display, and nothing of pyplot's global state, so that they may be drawn in the
middle of training and in a notebook alike. The suffix of `path` chooses the format.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np

from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.flow_colour import colour_wheel, flow_to_colour, full_speed
from ccsn_tf.files import whole_file

# Okabe and Ito, "Color universal design", 2008: told apart with every common colour vision.
_SPATIAL, _TEMPORAL, _FUSED = "#0072B2", "#D55E00", "#009E73"
_PURPLE, _ORANGE, _SKY = "#CC79A7", "#E69F00", "#56B4E9"
_INK, _FAINT = "#333333", "#DDDDDD"

_STREAMS = {"spatial": _SPATIAL, "temporal": _TEMPORAL, "fused": _FUSED}
_TERMS = {
    "loss": ("total", _INK, "-"),
    "ce_spatial": ("cross-entropy, spatial", _SPATIAL, "-"),
    "ce_temporal": ("cross-entropy, temporal", _TEMPORAL, "-"),
    "ce_fused": ("cross-entropy, fused", _FUSED, "-"),
    "intra": ("ranking, intra-modality", _PURPLE, "--"),
    "inter": ("ranking, inter-modality", _ORANGE, "--"),
}
_SERIES = (_SPATIAL, _TEMPORAL, _FUSED, _PURPLE, _ORANGE, _SKY)

_MAX_LABEL = 30  # characters of a class name on an axis
_MAX_CLASSES_WITH_COUNTS = 20


def save_history(rows: Sequence[dict], path: str | pathlib.Path) -> None:
    """Draws the losses by term and the accuracies over the epochs.

    Args:
        rows: one an epoch, as in history.csv, numbers or their text: `epoch`; the loss and its terms `loss`,
            `ce_spatial`, `ce_temporal`, `ce_fused`, `intra`, `inter`; accuracies as fractions, `spatial`, `temporal`,
            `fused` on the training batches and `val_` of them. A value that is absent, "" or not finite is not drawn.
        path: of the picture.
    """
    figure = _figure(11, 3)
    losses, accuracies = _place(figure, 0, 0, 5, 3), _place(figure, 6, 0, 5, 3)
    for key, (label, colour, style) in _TERMS.items():
        width = 2.4 if key == "loss" else 1.5
        _line(losses, rows, key, color=colour, linestyle=style, linewidth=width, label=label)
    for stream, colour in _STREAMS.items():
        _line(
            accuracies,
            rows,
            stream,
            color=colour,
            linestyle="--",
            linewidth=1.2,
            mfc="white",
            label=f"{stream}, training",
        )
    for stream, colour in _STREAMS.items():
        _line(accuracies, rows, f"val_{stream}", marker="o", color=colour, linewidth=2.2, label=f"{stream}, validation")
    _dress(losses, "Loss by term", xlabel="epoch")
    _dress(accuracies, "Top-1 accuracy", xlabel="epoch")
    _percent(accuracies.yaxis)
    accuracies.set_ylim(0, 1.02)
    losses.set_ylim(bottom=0)
    epochs = [_number(row, "epoch") for row in rows]
    for axes in (losses, accuracies):
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        if epochs:
            axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)  # a single epoch too has a width
        if axes.lines:
            # Below the panel: within it a legend of six would hide some line, whichever corner it chose.
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize=9, frameon=False)
    _save(figure, path)


def save_confusion(confusion: np.ndarray, classes: Sequence[str], path: str | pathlib.Path, title: str) -> None:
    """Draws a confusion matrix, each row as shares of its clips; with the clips in numbers for up to 20 classes.

    Colours go by the square root of the share, or the single mistakes of a good network would be as good as white.

    Args:
        confusion: integers (C, C), rows are the truth (`metrics.confusion_matrix`). A row without clips stays grey.
        classes: C names.
        path: of the picture, which grows with C: 17 inches wide for 101 classes.
        title: above it.
    """
    confusion = np.asarray(confusion)
    count = len(classes)
    if confusion.shape != (count, count):
        raise ValueError(f"`confusion` must be (C, C) for C classes. Received: {confusion.shape}, {count} classes.")
    with_counts = count <= _MAX_CLASSES_WITH_COUNTS
    pitch = max(0.48, 2.4 / count) if with_counts else min(0.135, 40 / count)  # inches a class
    font = 9 if with_counts else max(1.0, 0.68 * 72 * pitch)
    side = pitch * count
    figure = _figure(side, side)  # the cells alone: saving makes room for what is written around them
    from matplotlib.colors import PowerNorm  # after `_figure`, which tells when matplotlib is missing

    axes = _place(figure, 0, 0, side, side)
    clips = confusion.sum(axis=1, keepdims=True)
    shares = np.ma.masked_array(confusion / np.maximum(clips, 1), np.broadcast_to(clips == 0, confusion.shape))
    axes.set_facecolor(_FAINT)
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    names = [_shortened(name) for name in classes]
    slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if with_counts else {"rotation": 90}
    axes.set_xticks(range(count), names, fontsize=font, color=_INK, **slanted)
    axes.set_yticks(range(count), names, fontsize=font, color=_INK)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    # Lines between the classes: without them a cell far from the labels is hard to follow back.
    for draw in (axes.hlines, axes.vlines):
        draw(np.arange(1, count) - 0.5, -0.5, count - 0.5, colors=_FAINT, linewidths=0.8 if with_counts else 0.3)
    axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5))
    if with_counts:
        for row, column in np.argwhere(confusion):
            colour = "white" if shares[row, column] > 0.3 else _INK
            axes.text(column, row, confusion[row, column], ha="center", va="center", fontsize=font, color=colour)
    large = max(11.0, 0.8 * side)
    axes.set_title(_plain(title), fontsize=1.3 * large, color=_INK, loc="left", pad=12)
    axes.set_xlabel("predicted class", fontsize=large, color=_INK)
    axes.set_ylabel("true class", fontsize=large, color=_INK)
    strip = _place(figure, side + 0.2, 0, 0.1 + 0.015 * side, side)
    bar = figure.colorbar(image, cax=strip, ticks=[0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1])
    bar.set_label("share of the class's clips", fontsize=large, color=_INK)
    bar.ax.tick_params(length=0, labelsize=0.85 * large, labelcolor=_INK)
    bar.outline.set_visible(False)
    _percent(bar.ax.yaxis)
    _save(figure, path)


def save_snippets(
    frames: Sequence[np.ndarray], flows: Sequence[np.ndarray], path: str | pathlib.Path, title: str
) -> None:
    """Draws frames in a row and, below, flow fields in colour, on one scale, with the key to the colours.

    Args:
        frames: uint8 (H, W, 3) each, RGB.
        flows: float (H, W, 2) each, in pixels; as many as frames, or fewer.
        path: of the picture.
        title: above it.
    """
    if not frames or len(flows) > len(frames):
        raise ValueError(f"At least one frame, and no more flows. Received: {len(frames)} frames, {len(flows)} flows.")
    maximum = full_speed(flows)
    width, gap = 1.9, 0.08  # inches
    height = width * frames[0].shape[0] / frames[0].shape[1]
    figure = _figure((width + gap) * len(frames), 2 * height + gap)
    for column, frame in enumerate(frames):
        axes = _place(figure, column * (width + gap), height + gap, width, height)
        axes.imshow(frame)
        axes.set_title(str(column + 1), fontsize=10, color=_INK)
        if column == 0:
            axes.set_ylabel("RGB", fontsize=11, color=_INK)
    for column, flow in enumerate(flows):
        axes = _place(figure, column * (width + gap), 0, width, height)
        axes.imshow(flow_to_colour(flow, maximum))
        if column == 0:
            axes.set_ylabel("flow", fontsize=11, color=_INK)
    for axes in figure.axes:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color(_FAINT)
    if flows:
        _wheel(_place(figure, (width + gap) * len(frames) + 0.3, 0, 1.1, 1.1), maximum)
    above = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom"}  # the frames' numbers
    figure.axes[0].annotate(_plain(title), (0, 1), (0, 22), fontsize=13, color=_INK, **above)
    _save(figure, path)


def save_bars(rows: Sequence[tuple[str, dict[str, float | None]]], path: str | pathlib.Path, title: str) -> None:
    """Draws fractions as horizontal bars, grouped by row, each with its number in percent.

    Args:
        rows: (name, {series: fraction 0..1}), drawn from the top. `None` and NaN, and a series that a row lacks, are
            written as "not measured".
        path: of the picture.
        title: above it.
    """
    series = list(dict.fromkeys(name for _, values in rows for name in values))
    if not series:
        raise ValueError("No values to draw.")
    thickness = 0.8 / len(series)
    height = len(rows) * (0.18 + 0.24 * len(series))
    figure = _figure(7, height)
    axes = _place(figure, 0, 0, 7, height)
    greatest = 0.0
    for index, name in enumerate(series):
        colour = _SERIES[index % len(_SERIES)]
        values = np.array([_number(row, name) for _, row in rows])
        greatest = np.nanmax([greatest, *values])
        places = np.arange(len(rows)) + (index - (len(series) - 1) / 2) * thickness
        axes.barh(places, np.nan_to_num(values), 0.88 * thickness, color=colour, label=_plain(name))
        for place, value in zip(places, values, strict=True):
            text, ink = ("not measured", "#777777") if np.isnan(value) else (f"{100 * value:.1f}", _INK)
            note = axes.annotate(text, (np.nan_to_num(value), place), (4, 0), textcoords="offset points", va="center")
            note.set(fontsize=9, color=ink, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
    _dress(axes, title, xlabel="%" if len(series) > 1 else f"{series[0]}, %")
    axes.grid(axis="y", visible=False)
    axes.set_yticks(range(len(rows)), [_plain(name) for name, _ in rows], fontsize=10)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1.1 * min(1.0, greatest or 1.0))  # room for the number of the longest bar
    _percent(axes.xaxis, sign="")
    if len(series) > 1:
        below = (0, -0.5 / height)  # half an inch: under the axis's label
        axes.legend(loc="upper left", bbox_to_anchor=below, ncols=4, fontsize=10, frameon=False, borderaxespad=0)
    _save(figure, path)


def _figure(width, height):
    """An empty figure of that size in inches, on an Agg canvas.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise UserError("figures need matplotlib, which is missing: pip install 'ccsn_tf[figures]'.") from None
    figure = Figure(figsize=(width, height), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _place(figure, left, bottom, width, height):
    """A panel of this place and size in inches; what is written around it may lie outside the figure (`_save`)."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def _save(figure, path):
    with whole_file(path) as beside:
        # Tight: the picture becomes as large as what is written around the panels needs, long names too.
        figure.savefig(beside, bbox_inches="tight", pad_inches=0.15)


def _dress(axes, title, xlabel):
    axes.set_title(_plain(title), fontsize=13, color=_INK, loc="left", pad=10)
    axes.set_xlabel(_plain(xlabel), fontsize=10, color=_INK)
    axes.tick_params(length=0, labelsize=9, labelcolor=_INK)
    axes.grid(color=_FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#AAAAAA")


def _percent(axis, sign=" %"):
    axis.set_major_formatter(lambda value, _: f"{round(100 * value, 6):g}{sign}")


def _line(axes, rows, key, **style):
    """Draws a column over the epochs, if it has a value; with dots where single epochs would be invisible as a line."""
    points = [(_number(row, "epoch"), _number(row, key)) for row in rows]
    points = [(epoch, value) for epoch, value in points if np.isfinite(value)]
    if points:
        marker = style.pop("marker", "o" if len(points) == 1 else None)
        axes.plot(*zip(*points, strict=True), marker=marker, markersize=5, clip_on=False, **style)


def _wheel(axes, maximum):
    """The key to the colours."""
    axes.imshow(colour_wheel(201))
    axes.set_axis_off()
    axes.set_title(f"colour: direction\nrim: {maximum:.1f} px a frame", fontsize=9, color=_INK)


def _number(row, key):
    """The value as a float; NaN for an absent, empty or `None` one."""
    value = row.get(key)
    return float("nan") if value in (None, "") else float(value)


def _shortened(name):
    return _plain(name if len(name) <= _MAX_LABEL else name[: _MAX_LABEL - 1] + "…")


def _plain(text):
    """Dollar signs would switch matplotlib to formulas."""
    return text.replace("$", r"\$")
