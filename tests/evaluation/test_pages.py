"""The page and its pictures, of plain numbers."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
from html_pages import Page

from ccsn_tf.evaluation.metrics import predictions
from ccsn_tf.evaluation.pages import frame_strip, strongest_motion, wheel
from ccsn_tf.evaluation.report import most_confident, render

NAMES = ['Jump <b>&"high"', "Run's", "Archery</script>"]
PROTOCOL = "3 segments x centre crop a clip, logits averaged, fused by the model"
SECTIONS = ["figures", "confusion", "classes", "embeddings", "attention", "turned", "right", "wrong", "settings"]


def page(right=1, wrong=1, **values):
    figures = {"top1": 0.75, "top5": 1.0, "mean_class": 0.6875}
    found = {"queries": 19, "recall_at_1": 0.8125, "mean_average_precision": 0.4375}
    rows = [{"class": name, "clips": 5, "spatial": 0.2, "temporal": 0.4, "fused": 0.6} for name in NAMES]
    rows[len(rows) // 2] |= {"fused": 0.1}
    rows[-1] |= {"clips": 0, "spatial": None, "temporal": None, "fused": None}
    report = {
        "dataset": "folder",
        "split": 1,
        "num_classes": len(NAMES),
        "num_clips": 20,
        "num_skipped": 0,
        "connection": "cross_attention",
        "protocol": PROTOCOL,
        **dict.fromkeys(("spatial", "temporal", "fused"), figures),
        "classes": rows,
        "most_confused": [{"class": NAMES[0], "taken_for": NAMES[-1], "clips": 3}],
        "embeddings": {
            "not_finite": 0,
            "variation": {"spatial": 0.41, "temporal": 0.52, "cross": 0.63},
            "nearest_other_class": {"spatial": 0.94, "temporal": 0.85, "cross": None},
            "retrieval": {"flow_to_rgb": found, "rgb_to_flow": found},
        },
        "turned": {"right": 3, "wrong": 2},
        **values,
    }
    confusion = wheel()
    frames = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3)).astype(np.uint8)
    strip = {"image": frame_strip(frames), "caption": 'caption "quoted"', "text": 'frames & "flow"'}
    card = {"name": "a/b<c>.avi", "true_class": NAMES[0], "predicted": NAMES[-1], "strips": [strip]}
    card["probabilities"] = {"spatial": 0.25, "temporal": 0.5, "fused": 0.9876}
    settings = {"backbone": "a<b", "lr_mults": ("c:1", "d:2")}
    return render(report, confusion, [card] * right, [card] * wrong, [card] * right, "The <block>.", settings)


def test_one_file_that_parses_with_all_its_sections_and_figures():
    parsed = Page(page())
    assert [section["id"] for section in parsed.all("section")] == SECTIONS
    assert [link["href"] for link in parsed.all("a")] == [f"#{name}" for name in SECTIONS]
    assert not parsed.needs() and not parsed.all("script") and not parsed.all("link")
    assert len(parsed.pictures()) == 7  # the matrix; a strip and the key to the colours, for turned, right and wrong
    assert PROTOCOL in parsed.text
    for figure in ("75.0 %", "81.2 %", "68.8", "43.8", "0.41", "0.94", "98.8 %", "c:1,d:2"):
        assert figure in parsed.text, figure


def test_text_is_escaped():
    made = page()
    parsed = Page(made)
    assert not parsed.all("b<c>") and "<b>&" not in made and "</script>" not in made
    for name in (*NAMES, "a/b<c>.avi", "The <block>.", "a<b"):
        assert name in parsed.text
    assert any(image["alt"] == 'frames & "flow"' for image in parsed.all("img"))


def test_what_a_reader_must_know():
    shown, bare = Page(page()), Page(page(right=0, wrong=0, most_confused=[], connection="none", num_skipped=7))
    assert bare.text.count("There is none.") == 2 and len(bare.pictures()) == 1
    assert "Not counted: 7 more test clips" in bare.text and "Not counted" not in shown.text
    assert "No clip was taken for another class." in bare.text
    assert "say nothing about RGB alone" in shown.text and "say nothing about RGB alone" not in bare.text
    nothing = {"queries": 0, "recall_at_1": None, "mean_average_precision": None}
    broken = {"not_finite": 2, "retrieval": {"flow_to_rgb": nothing, "rgb_to_flow": nothing}}
    assert "2 clips have embeddings that are not finite" in Page(page(embeddings=broken)).text


def test_a_wheel_carries_the_template(tmp_path):
    command = [sys.executable, "setup.py", "--quiet", "build_py", f"--build-lib={tmp_path}"]
    subprocess.run(command, cwd=pathlib.Path(__file__).parents[2], check=True, capture_output=True)
    package = tmp_path / "ccsn_tf"
    for file in (
        "evaluation/head.html",
        "evaluation/report.html",
        "streaming/timeline_page.html",
        "streaming/live_page.html",
    ):
        assert (package / file).is_file()


@pytest.mark.parametrize(
    ("logits", "labels", "right", "wrong"),
    [
        ([[3, 0, 0], [0, 5, 0], [9, 0, 0], [0, 0, 2], [4, 0, 0]], [0, 1, 1, 1, 2], [1, 0], [2, 4, 3]),  # the surest
        ([[3, 0], [4, 0], [0, 5], [5, 0], [6, 0]], [0, 0, 1, 1, 1], [2, 1], [4]),  # one a class and a kind of mistake
        (np.eye(5) * np.arange(1, 6)[:, None], range(5), [4, 3, 2], []),  # no more than asked
        ([[60, 0, 0], [0, 70, 0], [0, 0, 65]], [0, 1, 2], [1, 2, 0], []),  # probabilities that round to one
        ([[2, 0, 0], [0, 2, 0], [0, 0, 2]], [0, 1, 2], [2, 1, 0], []),  # names decide between equals
        ([[1, 1, 0], [np.nan, 9, 0], [0, 3, 0]], [0, 1, 1], [2], [0]),  # a tie is wrong, NaN is neither
    ],
)
def test_the_clips_that_are_shown(logits, labels, right, wrong):
    logits, labels = np.array(logits, np.float32), np.array(labels)
    names = [f"clip{9 - i}" for i in range(len(labels))]
    assert most_confident(logits, labels, predictions(logits, labels), names, 3) == (right, wrong)


def test_the_strongest_motion():
    flow = np.zeros((2, 60, 60, 2), np.float32)
    flow[0, 35:38, 5:8] = -9
    flow[1, 2:20, 40:55, 1] = 3
    assert strongest_motion(flow, (6, 6)) == [(3, 0), (1, 4)]
