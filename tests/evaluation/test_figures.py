import sys

import cv2
import numpy as np
import pytest

from ccsn_tf.errors import UserError
from ccsn_tf.evaluation import figures
from ccsn_tf.evaluation.figures import save_bars, save_confusion, save_history, save_snippets
from ccsn_tf.evaluation.flow_colour import flow_to_colour


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved, for a look at what is written on them."""
    kept, save = [], figures._save
    monkeypatch.setattr(figures, "_save", lambda figure, path: (kept.append(figure), save(figure, path)))
    return kept


def texts(figure):
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


def size_of(path):
    """(width, height) of a picture that stands alone in its folder and is not blank."""
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    pixels = cv2.imread(str(path))
    assert pixels.std() > 5
    return pixels.shape[1], pixels.shape[0]


def history_row(epoch, **values):
    terms = {"loss": 6.3, "ce_spatial": 2.2, "ce_temporal": 2.1, "ce_fused": 1.9, "intra": 0.2, "inter": 0.3}
    accuracies = {"spatial": 0.2, "temporal": 0.3, "fused": 0.4}
    return {"epoch": epoch, "seconds": 3.0, "learning_rate": 1e-3, **terms, **accuracies, "positives": 1.0, **values}


VALIDATED = {"val_spatial": 0.25, "val_temporal": 0.5, "val_fused": 0.625}


@pytest.mark.parametrize("epochs", [1, 7])
def test_history(tmp_path, drawn, epochs):
    rows = [history_row(epoch, **(VALIDATED if epoch % 2 else {})) for epoch in range(1, epochs + 1)]
    save_history(rows, tmp_path / "history.png")
    width, height = size_of(tmp_path / "history.png")
    assert 1500 < width < 2000 and 500 < height < 1000
    losses, accuracies = drawn[0].axes
    assert len(losses.lines) == len(accuracies.lines) == 6
    assert accuracies.lines[-1].get_ydata().tolist() == [0.625] * ((epochs + 1) // 2)
    if epochs == 1:  # a line of one point would be invisible
        assert all(line.get_marker() == "o" for line in losses.lines + accuracies.lines)
        assert [tick for tick in losses.get_xticks() if 0.5 < tick < 1.5] == [1]


def test_history_read_back_from_its_file(tmp_path, drawn):
    rows = [history_row("1", val_fused="", intra=""), history_row("2", val_fused="0.5", intra="nan", loss="inf")]
    save_history(rows, tmp_path / "history.png")
    losses, accuracies = drawn[0].axes
    assert "ranking, intra-modality" not in texts(drawn[0])
    assert losses.lines[0].get_ydata().tolist() == [6.3]
    assert (accuracies.lines[-1].get_xdata(), accuracies.lines[-1].get_ydata()) == ([2.0], [0.5])


def test_history_without_validation_or_rows(tmp_path, drawn):
    save_history([history_row(1), history_row(2)], tmp_path / "history.png")
    assert not any("validation" in text for text in texts(drawn[0]))
    save_history([], tmp_path / "history.png")
    size_of(tmp_path / "history.png")


@pytest.mark.parametrize("classes", [1, 4, 20, 21, 101])
def test_confusion(tmp_path, drawn, classes):
    confusion = 3 * np.eye(classes, dtype=int)
    confusion[0, -1] = 17
    confusion[classes // 2] = 0  # a class without clips
    names = [f"PlayingTheInstrument{index}" for index in range(classes)]
    save_confusion(confusion, names, tmp_path / "confusion.png", "All of them")
    width, height = size_of(tmp_path / "confusion.png")
    assert 400 < height < width < 3000
    written = texts(drawn[0])
    assert all(written.count(name) == 2 for name in names)
    assert ("17" in written) == (1 < classes <= 20)
    image = drawn[0].axes[0].images[0].get_array()
    assert image.mask[classes // 2].all()
    np.testing.assert_allclose(image.sum(axis=1).compressed(), 1.0)
    label = drawn[0].axes[0].get_yticklabels()[0]
    assert label.get_fontsize() > 6
    assert label.get_window_extent().height < drawn[0].axes[0].get_window_extent().height / classes


def test_confusion_of_other_size_than_the_classes(tmp_path):
    with pytest.raises(ValueError, match=r"\(3, 3\), 2 classes"):
        save_confusion(np.eye(3, dtype=int), ["a", "b"], tmp_path / "confusion.png", "Odd")


def test_long_names_and_dollars_are_written_as_they_are(tmp_path, drawn):
    long = "Pretending to put something behind something"
    save_confusion(np.eye(2, dtype=int), [long, "From $1 to $2"], tmp_path / "confusion.png", "$x$")
    written = texts(drawn[0])
    assert "Pretending to put something b…" in written
    assert r"From \$1 to \$2" in written and r"\$x\$" in written


@pytest.mark.parametrize(
    ("direction", "colour"),
    [
        ((1, 0), "red"),
        ((0, 1), "yellow"),
        ((-1, 0), "cyan"),
        ((0, -1), "violet"),
        ((1, 1), "orange"),
        ((-1, 1), "green"),
        ((-1, -1), "blue"),
        ((1, -1), "magenta"),
        ((1, -1e-6), "red"),  # the wheel closes
    ],
)
def test_directions_have_their_colours(direction, colour):
    hues = {"red": 0, "orange": 30, "yellow": 55, "green": 105, "cyan": 190, "blue": 230, "violet": 265, "magenta": 310}
    pixel = flow_to_colour(np.array([[direction]], np.float32))
    hue, saturation, value = cv2.cvtColor(pixel, cv2.COLOR_RGB2HSV_FULL)[0, 0].astype(float) * [360 / 256, 1, 1]
    assert abs((hue - hues[colour] + 180) % 360 - 180) < 15
    assert saturation == value == 255


def test_right_is_exactly_red():
    np.testing.assert_array_equal(flow_to_colour(np.array([[[2.0, 0.0]]])), [[[255, 0, 0]]])


def test_speed_is_saturation():
    row = flow_to_colour(np.array([[[0, 0], [1, 0], [2, 0], [4, 0], [9, 0]]], np.float32), maximum=4)
    np.testing.assert_array_equal(row[0, :, 0], 255)
    np.testing.assert_array_equal(row[0, :, 1], [255, 191, 128, 0, 0])
    assert row.dtype == np.uint8
    of_itself = flow_to_colour(np.array([[[0, 0], [1, 0], [2, 0]]], np.float32))
    np.testing.assert_array_equal(of_itself[0, :, 1], [255, 128, 0])


@pytest.mark.parametrize("maximum", [None, 0.0, 3.0])
def test_still_is_white_and_unknown_is_black(maximum):
    flow = np.zeros((3, 5, 2), np.float32)
    np.testing.assert_array_equal(flow_to_colour(flow, maximum), np.full((3, 5, 3), 255, np.uint8))
    flow[1, 2, 0], flow[2, 4, 1] = np.nan, np.inf
    picture = flow_to_colour(flow, maximum)
    assert np.argwhere((picture == 0).all(axis=-1)).tolist() == [[1, 2], [2, 4]]
    assert (picture == 255).all(axis=-1).sum() == 13


@pytest.mark.parametrize(("frames", "flows"), [(3, 3), (3, 2), (1, 0)])
def test_snippets(tmp_path, drawn, frames, flows):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(frames)]
    fields = [np.full((48, 64, 2), 3.0, np.float32) for _ in range(flows)]
    if fields:
        fields[0][0, 0] = 500.0, 0.0  # one wild vector does not pale all the others
        fields[0][0, 1] = np.nan
    save_snippets(images, fields, tmp_path / "snippets.png", "v_Archery_g01_c01")
    width, height = size_of(tmp_path / "snippets.png")
    assert frames * 285 < width < frames * 300 + 400
    assert (400 if flows else 250) < height < 700
    written = texts(drawn[0])
    assert "v_Archery_g01_c01" in written
    assert any("rim: 4.2 px" in text for text in written) == bool(flows)


def test_noise_of_a_still_scene_is_not_blown_up(tmp_path, drawn):
    still = np.full((8, 8, 2), 0.01, np.float32)
    save_snippets([np.zeros((8, 8, 3), np.uint8)], [still], tmp_path / "snippets.png", "Still")
    assert any("rim: 0.5 px" in text for text in texts(drawn[0]))
    shown = drawn[0].axes[1].images[0].get_array()
    assert shown.min() > 240


def test_snippets_that_do_not_fit(tmp_path):
    frame, flow = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 2), np.float32)
    for frames, flows in ([], []), ([frame], [flow, flow]):
        with pytest.raises(ValueError, match="At least one frame"):
            save_snippets(frames, flows, tmp_path / "snippets.png", "Odd")


def test_bars(tmp_path, drawn):
    rows = [
        ("late fusion", {"top-1": 0.7005, "mean class": 0.5}),
        ("cross-attention", {"top-1": 1.0, "mean class": None}),
        ("sum", {"top-1": float("nan")}),
    ]
    save_bars(rows, tmp_path / "bars.png", "Ways to join")
    width, height = size_of(tmp_path / "bars.png")
    assert 1000 < width < 1600 and 250 < height < 800
    written = texts(drawn[0])
    assert {"70.0", "50.0", "100.0", "late fusion", "top-1", "mean class", "Ways to join"} <= set(written)
    assert written.count("not measured") == 3
    axes = drawn[0].axes[0]
    lengths = [[bar.get_width() for bar in bars] for bars in axes.containers]
    assert lengths == [[0.7005, 1.0, 0.0], [0.5, 0.0, 0.0]]
    assert axes.get_xlim()[0] == 0  # lengths compare only from zero
    top, bottom = (axes.containers[0][i].get_window_extent().y0 for i in (0, 2))
    assert top > bottom


def test_bars_of_one_series_or_none(tmp_path, drawn):
    save_bars([("none", {"top-1": 0.0})], tmp_path / "bars.png", "One")
    assert "top-1, %" in texts(drawn[0])
    with pytest.raises(ValueError, match="No values"):
        save_bars([("none", {})], tmp_path / "bars.png", "None")


def test_a_picture_is_whole_or_absent(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    def stop_halfway(figure, path, **options):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Figure, "savefig", stop_halfway)
    with pytest.raises(KeyboardInterrupt):
        save_bars([("none", {"top-1": 0.5})], tmp_path / "bars.png", "One")
    assert list(tmp_path.iterdir()) == []


def test_pyplot_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it now fails
    save_bars([("none", {"top-1": 0.5})], tmp_path / "bars.png", "One")


@pytest.mark.parametrize(
    "draw",
    [
        lambda path: save_history([history_row(1)], path),
        lambda path: save_confusion(np.eye(2, dtype=int), ["a", "b"], path, ""),
        lambda path: save_snippets([np.zeros((8, 8, 3), np.uint8)], [], path, ""),
        lambda path: save_bars([("none", {"top-1": 0.5})], path, ""),
    ],
)
def test_without_matplotlib(tmp_path, monkeypatch, draw):
    for name in {"matplotlib", *(name for name in sys.modules if name.startswith("matplotlib."))}:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"pip install 'ccsn_tf\[figures\]'"):
        draw(tmp_path / "picture.png")
    assert list(tmp_path.iterdir()) == []
    assert flow_to_colour(np.zeros((2, 2, 2))).shape == (2, 2, 3)  # needs none
