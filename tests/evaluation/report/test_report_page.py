import html

import cv2
import numpy as np
import pytest
from html_pages import Page, inner_width, screenshot

from ccsn_tf.evaluation.report import charts as report_charts
from ccsn_tf.evaluation.report import pictures as report_pictures
from ccsn_tf.evaluation.report.page import ClipCard, Strip, render

NAMES = ['Jump <b>&"high"', "Run's", "Archery</script>"]
PROTOCOL = "3 segments x centre crop a clip, logits averaged, fused by the model"
SECTIONS = ["figures", "confusion", "classes", "embeddings", "attention", "right", "wrong", "settings"]


def report(classes=NAMES, **values):
    figures = {"top1": 0.75, "top5": 1.0, "mean_class": 0.6875}
    found = {"queries": 19, "recall_at_1": 0.8125, "mean_average_precision": 0.4375}
    rows = [{"class": name, "clips": 5, "spatial": 0.2, "temporal": 0.4, "fused": 0.6} for name in classes]
    rows[-1] |= {"clips": 0, "spatial": None, "temporal": None, "fused": None}
    return {
        "dataset": "folder",
        "split": 1,
        "num_classes": len(classes),
        "num_clips": 20,
        "num_skipped": 0,
        "connection": "cross_attention",
        "protocol": PROTOCOL,
        **dict.fromkeys(("spatial", "temporal", "fused"), figures),
        "classes": rows,
        "most_confused": [{"class": classes[0], "taken_for": classes[1], "clips": 3}],
        "embeddings": {
            "not_finite": 0,
            "variation": {"spatial": 0.41, "temporal": 0.52, "cross": 0.63},
            "nearest_other_class": {"spatial": 0.94, "temporal": 0.85, "cross": None},
            "retrieval": {"flow_to_rgb": found, "rgb_to_flow": found},
        },
        **values,
    }


def confusion(count=3):
    matrix = 4 * np.eye(count, dtype=int)
    if count > 1:
        matrix[0, 1], matrix[-1] = 3, 0
    return matrix


def card(name="a/b<c>.avi"):
    frames = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3)).astype(np.uint8)
    strips = [Strip(report_pictures.frame_strip(frames), 'caption "quoted"', 'frames & "flow"')]
    return ClipCard(name, NAMES[0], NAMES[1], {"spatial": 0.25, "temporal": 0.5, "fused": 0.9876}, strips)


def page(right=1, wrong=1, **values):
    made = report(**values)
    matrix = confusion(made["num_classes"])
    cards = [card()] * right, [card("wrong")] * wrong
    return render(made, matrix, *cards, "The attention of <block>.", report_pictures.wheel(), [("backbone", "a<b")])


def test_one_file_that_parses_with_all_its_sections():
    parsed = Page(page())
    assert [section["id"] for section in parsed.all("section")] == SECTIONS
    assert [link["href"] for link in parsed.all("a")] == [f"#{name}" for name in SECTIONS]
    assert not parsed.needs() and not parsed.all("script") and not parsed.all("link")
    assert len(parsed.pictures()) == 4  # a strip and the key to the colours, for right and wrong
    assert any(meta.get("name") == "viewport" for meta in parsed.all("meta"))


def test_every_figure_has_its_protocol():
    parsed = Page(page())
    assert parsed.text.count(PROTOCOL) >= 9  # the head, four cards, the table, and three sections
    for figure in ("75.0 %", "81.2 %", "68.8", "43.8", "0.41", "0.94", "98.8 %"):
        assert figure in parsed.text, figure


def test_text_is_escaped():
    made = page()
    parsed = Page(made)
    assert not parsed.all("b<c>") and "<b>&" not in made and "</script>" not in made
    for name in (*NAMES, "a/b<c>.avi", "The attention of <block>.", "a<b"):
        assert name in parsed.text
        assert html.escape(name) in made
    assert any(image["alt"] == 'frames & "flow"' for image in parsed.all("img"))


def test_a_class_without_clips_has_no_bar():
    bars = Page(report_charts.class_bars(report()["classes"]))
    assert len(bars.all("i")) == 6 and bars.text.count("no clips") == 3
    assert bars.text.index("Archery") > bars.text.index("Run's")


def test_the_weakest_class_comes_first():
    rows = report()["classes"][:2]
    rows[1] |= {"fused": 0.1}
    text = Page(report_charts.class_bars(rows)).text
    assert text.index("Run's") < text.index("Jump")


@pytest.mark.parametrize("count", [1, 3, 20, 21, 174])
def test_confusion_draws_what_is_not_zero(count):
    matrix = confusion(count)
    drawn = Page(report_charts.confusion_svg(matrix, [f"class {i}" for i in range(count)]))
    assert len(drawn.all("rect")) == 1 + np.count_nonzero(matrix)
    if count > 1:
        assert "3 of 7 clips of class 0 taken for class 1" in drawn.text
    counts = [text for text in drawn.all("text") if "count" in (text.get("class") or "")]
    assert len(counts) == (np.count_nonzero(matrix) if count <= 20 else 0)


def test_nothing_to_show_is_said():
    bare = Page(page(right=0, wrong=0, most_confused=[]))
    assert bare.text.count("There is none.") == 2 and "No clip was taken for another class." in bare.text
    assert not bare.pictures()


def test_what_a_reader_must_know():
    assert "Not counted: 7 more test clips" in Page(page(num_skipped=7)).text
    assert "Not counted" not in Page(page()).text
    assert "say nothing about RGB alone" in Page(page()).text
    assert "say nothing about RGB alone" not in Page(page(connection="none")).text
    broken = report()["embeddings"] | {"not_finite": 2}
    assert "2 clips have embeddings that are not finite" in Page(page(embeddings=broken)).text


@pytest.mark.parametrize("dark", [False, True])
def test_chromium_renders_it(tmp_path, dark):
    path = tmp_path / "page.html"
    path.write_text(page(), encoding="utf-8")
    shown = screenshot(path, tmp_path, 1200, 900, *(["--blink-settings=preferredColorScheme=0"] if dark else []))
    assert shown.shape == (900, 1200, 3)
    corner = shown[:8, :8].reshape(-1, 3).mean(axis=0)
    assert (corner.max() < 60) if dark else (corner.min() > 240)
    rims = cv2.inRange(shown, *map(np.array, ACCENT[dark]))  # of the cards, in the colour of the spatial stream
    assert np.count_nonzero(rims) > 200


def test_a_phone_need_not_scroll_sideways(tmp_path):
    classes = [f"Pretending to put something behind something {i}" for i in range(30)]
    assert inner_width(page(classes=classes, num_classes=30), tmp_path, 390) == 390


ACCENT = {False: ((174, 110, 0), (182, 118, 4)), True: ((229, 176, 82), (237, 184, 90))}  # BGR, from, to
