import sys

import cv2
import numpy as np
import pytest
from matplotlib.text import Text

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
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


def history_row(epoch, **values):
    terms = {"loss": 6.3, "ce_spatial": 2.2, "ce_temporal": 2.1, "ce_fused": 1.9, "intra": 0.2, "inter": 0.3}
    accuracies = {"spatial": 0.2, "temporal": 0.3, "fused": 0.4}
    return {"epoch": epoch, "seconds": 3.0, "learning_rate": 1e-3, **terms, **accuracies, "positives": 1.0, **values}


@pytest.mark.parametrize("epochs", [1, 7])
def test_history(tmp_path, drawn, epochs):
    validated = {"val_spatial": 0.25, "val_temporal": 0.5, "val_fused": 0.625}
    rows = [history_row(epoch, **(validated if epoch % 2 else {})) for epoch in range(1, epochs + 1)]
    save_history(rows, tmp_path / "history.png")
    assert cv2.imread(str(tmp_path / "history.png")).std() > 5
    losses, accuracies = drawn[0].axes
    assert len(losses.lines) == len(accuracies.lines) == 6
    assert accuracies.lines[-1].get_ydata().tolist() == [0.625] * ((epochs + 1) // 2)
    if epochs == 1:  # a line of one point would be invisible
        assert all(line.get_marker() == "o" for line in losses.lines + accuracies.lines)


def test_history_read_back_from_its_file(tmp_path, drawn):
    rows = [history_row("1", val_fused="", intra=""), history_row("2", val_fused="0.5", intra="nan", loss="inf")]
    save_history(rows, tmp_path / "history.png")
    losses, accuracies = drawn[0].axes
    assert "ranking, intra-modality" not in texts(drawn[0]) and "spatial, validation" not in texts(drawn[0])
    assert losses.lines[0].get_ydata().tolist() == [6.3]
    assert (accuracies.lines[-1].get_xdata(), accuracies.lines[-1].get_ydata()) == ([2.0], [0.5])
    save_history([], tmp_path / "history.png")


@pytest.mark.parametrize("classes", [20, 21])
def test_confusion(tmp_path, drawn, classes):
    confusion = 3 * np.eye(classes, dtype=int)
    confusion[0, -1] = 17
    confusion[classes // 2] = 0  # a class without clips
    names = [f"PlayingTheInstrument{index}" for index in range(classes)]
    save_confusion(confusion, names, tmp_path / "confusion.png", "All of them")
    written = texts(drawn[0])
    assert all(written.count(name) == 2 for name in names) and ("17" in written) == (classes == 20)
    image = drawn[0].axes[0].images[0].get_array()
    assert image.mask[classes // 2].all()
    np.testing.assert_allclose(image.sum(axis=1).compressed(), 1.0)


@pytest.mark.filterwarnings("error")  # of letters that are missing
def test_names_are_written_as_they_are_where_the_font_has_their_letters(tmp_path, drawn):
    """This machine may have a font for some; none has the last, which is assigned to nobody."""
    names = ["From $1 to $2", "größer", "Jump 走る", "private \U0010fffd"]
    save_confusion(np.eye(4, dtype=int), names, tmp_path / "confusion.png", "$x$")
    written = set(texts(drawn[0]))
    assert {r"\$x\$", r"From \$1 to \$2", "größer", "#3"} <= written and "private \U0010fffd" not in written
    assert "predicted class (#: its place in classes.json, from 0)" in written


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
