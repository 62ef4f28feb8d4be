"""The page: its curves, and what it shows at its cursor."""

import collections
import json
import re

import numpy as np
import pytest
import small_models
from html_pages import Page, decoded, dumped
from streams import CLASSES, BrightnessModel, grey_frames

from ccsn_tf.config import Config
from ccsn_tf.models.attention_maps import clip_attention
from ccsn_tf.streaming import timeline_page as module
from ccsn_tf.streaming.sliding_window import Watcher
from ccsn_tf.streaming.source import open_source
from ccsn_tf.streaming.stream_model import TrainedModel
from ccsn_tf.streaming.timeline_page import Curves, Moments, write_page

FACTS = {"window": 2.0, "every": 0.5, "counts": collections.Counter(windows=1)}


def brightness(moment):
    return decoded(moment["strips"][0]["image"]).mean()


def watched(moments, model, levels):
    """Shows it frames, one a level, 10 a second."""
    watcher = Watcher(model, 2.0, 0.5, moments.see)
    for number, frame in enumerate(grey_frames(levels)):
        watcher.push(number / 10, frame)
        moments.draw()


def test_evenly_spaced_and_no_more_than_a_page_has_room_for(monkeypatch):
    monkeypatch.setattr(module, "_MOST", 4)
    model = BrightnessModel(segments=20)
    moments = Moments(model, 0.5)
    watched(moments, model, range(50, 110))
    times = [each["time"] for each in moments.drawn]
    assert times == [0.1, 2.1, 4.1]  # the middle frame of the first snippet; twice thinned
    np.testing.assert_allclose([brightness(each) for each in moments.drawn], [51, 71, 91], atol=1)


def test_what_a_trained_network_saw():
    settings = {"image_size": small_models.SIZE, "flow_length": 5, "test_segments": 4}
    network, config = small_models.kept(), Config().replace(**settings)
    model, (clip,) = TrainedModel(network, config), [small_models.clips(number=1, segments=1)]
    clip = {name: values[0] for name, values in clip.items()}
    for found, expected in zip(
        vars(model.attention(clip)).values(), vars(clip_attention(network, clip)).values(), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    moments = Moments(model, 0.5)
    moments.see((1.0, 2.0), {name: values[0] for name, values in clip.items()}, 240)
    moments.draw()
    (moment,) = moments.drawn
    assert moment["time"] == 1.4 and len(moment["strips"]) == 5
    shown = decoded(moment["strips"][0]["image"])[..., ::-1]
    assert abs(shown.mean((0, 1)) - clip["rgb"][0].mean((0, 1))).max() < 8


@pytest.fixture(scope="module")
def day():
    """Moments of a stream of 3 seconds that are dark and 3 that are bright."""
    model = BrightnessModel(segments=20)
    moments = Moments(model)
    watched(moments, model, [20] * 30 + [235] * 30)
    return moments.drawn


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_shows_what_is_at_the_cursor(day, tmp_path, width):
    path = tmp_path / "t.html"
    curves = Curves(0.5, 1)
    curves.add(0.0, 6.0, [0], np.ones(1))
    write_page(path, open_source("http://a/b"), [], curves, day, CLASSES, FACTS)
    text = path.read_text()
    assert not Page(text).needs()
    path.write_text(text.replace("show(0);", "show(5.2);"))
    page = Page(dumped(path.as_uri(), width, tmp_path))
    (shown,) = re.findall(r'<output id="at">(.*?)</output>', page.source)
    assert shown == "00:05.1"
    frame, flow = (decoded(image["src"]) for image in page.all("img") if image.get("id") != "wheel")
    assert frame.mean() > 200 and flow.mean() > 200  # bright; and it stands still, which is white
    kept = json.loads(re.search(r"const moments = (\[.*?\]), figures", text)[1])
    assert [each["time"] for each in kept] == [each["time"] for each in day]


def test_curves_are_thinned_and_interrupted():
    curves = Curves(every=0.5, top_k=1)
    rng = np.random.default_rng(0)
    scores = rng.random(5000)
    for number, score in enumerate(scores):
        start = 0.5 * number + (100 if number >= 3000 else 0)
        curves.add(start, start + 2, [number % 3], np.array([score]))
    pieces = curves.points(1)
    assert len(pieces) == 2 and sum(map(len, pieces)) < 2000
    assert max(score for piece in pieces for _, score in piece) == pytest.approx(scores[1::3].max())
    assert curves.best()[0] == int(scores.argmax()) % 3
