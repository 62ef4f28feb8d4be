import sys

import cv2
import numpy as np
import pytest

from ccsn_tf.errors import UserError
from ccsn_tf.evaluation import figures
from ccsn_tf.evaluation.figures import save_confusion, save_history


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


@pytest.mark.parametrize("epochs", [1, 7])
def test_history(tmp_path, drawn, epochs):
    validated = {"val_spatial": 0.25, "val_temporal": 0.5, "val_fused": 0.625}
    rows = [history_row(epoch, **(validated if epoch % 2 else {})) for epoch in range(1, epochs + 1)]
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
    assert "ranking, intra-modality" not in texts(drawn[0]) and "spatial, validation" not in texts(drawn[0])
    assert losses.lines[0].get_ydata().tolist() == [6.3]
    assert (accuracies.lines[-1].get_xdata(), accuracies.lines[-1].get_ydata()) == ([2.0], [0.5])
    save_history([], tmp_path / "history.png")
    size_of(tmp_path / "history.png")


@pytest.mark.parametrize("classes", [20, 21])
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


def test_long_names_and_dollars_are_written_as_they_are(tmp_path, drawn):
    long = "Pretending to put something behind something"
    save_confusion(np.eye(2, dtype=int), [long, "From $1 to $2"], tmp_path / "confusion.png", "$x$")
    assert {"Pretending to put something b…", r"From \$1 to \$2", r"\$x\$"} <= set(texts(drawn[0]))


@pytest.mark.filterwarnings("error")  # of letters that are missing
def test_names_in_letters_that_the_usual_font_does_not_have(tmp_path, drawn):
    """This machine may have a font for some; none has the last, which is assigned to nobody."""
    names = ["run", "größer", "Jump 走る", "private \U0010fffd"]
    save_confusion(np.eye(4, dtype=int), names, tmp_path / "confusion.png", "All")
    written = texts(drawn[0])
    assert {"run", "größer", "#3", "predicted class (#: its place in classes.json, from 0)"} <= set(written)
    assert "private \U0010fffd" not in written
    save_confusion(np.eye(2, dtype=int), names[:2], tmp_path / "confusion.png", "All")
    assert "predicted class" in texts(drawn[1])


def test_without_matplotlib(tmp_path, monkeypatch):
    for name in {"matplotlib", *(name for name in sys.modules if name.startswith("matplotlib."))}:
        monkeypatch.setitem(sys.modules, name, None)
    for draw in (
        lambda path: save_history([history_row(1)], path),
        lambda path: save_confusion(np.eye(2, dtype=int), ["a", "b"], path, ""),
    ):
        with pytest.raises(UserError, match=r"pip install 'ccsn_tf\[figures\]'"):
            draw(tmp_path / "picture.png")
    assert list(tmp_path.iterdir()) == []
