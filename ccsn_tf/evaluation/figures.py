"""Pictures of a training run and of an evaluation.

matplotlib draws them; it is optional (`pip install 'ccsn_tf[figures]'`) and imported when the first one is asked for.
Nothing is asked of a display or of pyplot's global state, so that they may be drawn in the middle of training and in a
notebook alike. The suffix of `path` chooses the format.
"""

import pathlib
from collections.abc import Sequence

import numpy as np

from ccsn_tf.config.settings import PREDICTIONS
from ccsn_tf.errors import UserError
from ccsn_tf.files import whole_file

# Okabe and Ito, "Color universal design", 2008: told apart with every common colour vision.
_COLOURS = {"spatial": "#0072B2", "temporal": "#D55E00", "fused": "#009E73", "intra": "#CC79A7", "inter": "#E69F00"}
_FAINT = "#DDDDDD"

_FONT = "DejaVu Sans"  # matplotlib's own
_MAX_LABEL = 30  # characters of a class name on an axis
_MAX_CLASSES_WITH_COUNTS = 20


def save_history(rows: Sequence[dict], path: str | pathlib.Path) -> None:
    """Draws the losses by term and the accuracies over the epochs.

    Args:
        rows: one an epoch, as in history.csv, numbers or their text: `epoch`; the loss and its terms `loss`,
            `ce_spatial`, `ce_temporal`, `ce_fused`, `intra`, `inter`; accuracies as fractions, `spatial`, `temporal`,
            `fused` on the training batches and `val_` of them. A value that is absent, "" or not finite is not drawn.
        path: of the picture.

    Raises:
        UserError: matplotlib is not installed, or `path` cannot be written.
    """
    figure = _figure(13, 4)
    losses, accuracies = figure.subplots(1, 2)
    _line(losses, rows, "loss", color="black", linewidth=2.4, label="total")
    for stream in PREDICTIONS:
        _line(losses, rows, f"ce_{stream}", color=_COLOURS[stream], label=f"cross-entropy, {stream}")
        style = {"linestyle": "--", "mfc": "white", "label": f"{stream}, training"}
        _line(accuracies, rows, stream, color=_COLOURS[stream], **style)
    for term in ("intra", "inter"):
        _line(losses, rows, term, color=_COLOURS[term], linestyle="--", label=f"ranking, {term}-modality")
    for stream in PREDICTIONS:
        style = {"marker": "o", "linewidth": 2.2, "label": f"{stream}, validation"}
        _line(accuracies, rows, f"val_{stream}", color=_COLOURS[stream], **style)
    losses.set_title("Loss by term", loc="left")
    losses.set_ylim(bottom=0)
    accuracies.set_title("Top-1 accuracy", loc="left")
    accuracies.set_ylim(0, 1.02)
    accuracies.yaxis.set_major_formatter(_in_percent)
    epochs = [_number(row, "epoch") for row in rows]
    for axes in (losses, accuracies):
        axes.set_xlabel("epoch")
        axes.grid(color=_FAINT)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        if epochs:
            axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)  # a single epoch too has a width
        if axes.lines:
            # Below the panel: within it a legend of six would hide some line, whichever corner it chose.
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False)
    _save(figure, path)


def save_confusion(confusion: np.ndarray, classes: Sequence[str], path: str | pathlib.Path, title: str) -> None:
    """Draws a confusion matrix, each row as shares of its clips; with the clips in numbers for up to 20 classes.

    Colours go by the square root of the share, or the single mistakes of a good network would be as good as white.

    Args:
        confusion: integers (C, C), rows are the truth (`metrics.confusion_matrix`). A row without clips stays grey.
        classes: C names; one in letters that no font here has is shown by its index.
        path: of the picture, which grows with C: 17 inches wide for 101 classes.
        title: above it.

    Raises:
        UserError: matplotlib is not installed, or `path` cannot be written.
    """
    count = len(classes)
    with_counts = count <= _MAX_CLASSES_WITH_COUNTS
    pitch = max(0.48, 2.4 / count) if with_counts else min(0.135, 40 / count)  # inches a class
    font = 9 if with_counts else max(1.0, 0.68 * 72 * pitch)
    side = pitch * count
    figure = _figure(side, side)  # the cells alone: saving makes room for what is written around them
    from matplotlib.colors import PowerNorm  # after `_figure`, which tells when matplotlib is missing

    axes = figure.add_axes((0, 0, 1, 1), facecolor=_FAINT)
    clips = confusion.sum(axis=1, keepdims=True)
    shares = np.ma.masked_array(confusion / np.maximum(clips, 1), np.broadcast_to(clips == 0, confusion.shape))
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    names = [_plain(name if len(name) <= _MAX_LABEL else name[: _MAX_LABEL - 1] + "…") for name in classes]
    fonts, key = _fonts_with("".join(names)), ""
    if not fonts:
        fonts, key = [_FONT], " (#: its place in classes.json, from 0)"
        names = [name if _fonts_with(name) == fonts else f"#{index}" for index, name in enumerate(names)]
    slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if with_counts else {"rotation": 90}
    axes.set_xticks(range(count), names, fontsize=font, fontfamily=fonts, **slanted)
    axes.set_yticks(range(count), names, fontsize=font, fontfamily=fonts)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    # Lines between the classes: without them a cell far from the labels is hard to follow back.
    for draw in (axes.hlines, axes.vlines):
        draw(np.arange(1, count) - 0.5, -0.5, count - 0.5, colors=_FAINT, linewidths=0.8 if with_counts else 0.3)
    axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5))
    if with_counts:
        for row, column in np.argwhere(confusion):
            colour = "white" if shares[row, column] > 0.3 else "black"
            axes.text(column, row, confusion[row, column], ha="center", va="center", fontsize=font, color=colour)
    large = max(11.0, 0.8 * side)
    axes.set_title(_plain(title), fontsize=1.3 * large, loc="left", pad=12)
    axes.set_xlabel(f"predicted class{key}", fontsize=large)
    axes.set_ylabel(f"true class{key}", fontsize=large)
    strip = figure.add_axes((1 + 0.2 / side, 0, 0.1 / side + 0.015, 1))
    bar = figure.colorbar(image, cax=strip, ticks=[0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1], format=_in_percent)
    bar.set_label("share of the class's clips", fontsize=large)
    strip.tick_params(labelsize=0.85 * large)
    _save(figure, path)


def save_contact_sheet(cells: Sequence[tuple[str, Sequence[np.ndarray]]], path: str | pathlib.Path) -> None:
    """Draws clips, two in a row: frames side by side, uint8 (H, W, 3) of one size, below a title.

    Raises:
        UserError: matplotlib is not installed, or `path` cannot be written.
    """
    rows = -(-len(cells) // 2)
    figure = _figure(13, 2.4 * rows)
    places = figure.subplots(rows, 2, squeeze=False).ravel()
    for axes, (title, frames) in zip(places, cells, strict=False):
        axes.imshow(np.concatenate(frames, axis=1))
        axes.set_title(_plain(title), fontsize=9, loc="left", fontfamily=_fonts_with(title) or [_FONT])
    for axes in places:
        axes.set_axis_off()
    _save(figure, path)


def _figure(width, height):
    """An empty figure of that size in inches."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise UserError("figures need matplotlib, which is missing: pip install 'ccsn_tf[figures]'.") from None
    return Figure(figsize=(width, height), dpi=150)


def _fonts_with(text):
    """Fonts of this machine that have all letters between them, matplotlib's own first; none where there is no such."""
    from matplotlib import font_manager

    def lacking(font, letters):
        return letters - font_manager.get_font(font).get_charmap().keys()

    rest = lacking(font_manager.findfont(_FONT), set(map(ord, text)))
    if not rest:
        return [_FONT]
    fonts = font_manager.fontManager.ttflist
    others = sorted((font.name, font.fname) for font in fonts if "Last Resort" not in font.name)  # which draws boxes
    return next(([_FONT, name] for name, path in others if not lacking(path, rest)), [])


def _save(figure, path):
    with whole_file(path) as beside:
        # Tight: the picture becomes as large as what is written around the panels needs, long names too.
        figure.savefig(beside, bbox_inches="tight", pad_inches=0.15)


def _in_percent(value, _):
    return f"{round(100 * value, 6):g} %"


def _line(axes, rows, key, **style):
    """Draws a column over the epochs, if it has a value; with dots where single epochs would be invisible as a line."""
    points = [(_number(row, "epoch"), _number(row, key)) for row in rows]
    points = [(epoch, value) for epoch, value in points if np.isfinite(value)]
    if points:
        marker = style.pop("marker", "o" if len(points) == 1 else None)
        axes.plot(*zip(*points, strict=True), marker=marker, markersize=5, clip_on=False, **style)


def _number(row, key):
    """The value as a float; NaN for an absent, empty or `None` one."""
    value = row.get(key)
    return float("nan") if value in (None, "") else float(value)


def _plain(text):
    """Dollar signs would switch matplotlib to formulas."""
    return text.replace("$", r"\$")
