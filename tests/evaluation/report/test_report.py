"""A report of real records by a real, untrained network."""

import dataclasses
import json

import numpy as np
import pytest
from html_pages import Page
from layers import randomise_in_scale

from ccsn_tf.config import Config
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.evaluate import evaluate
from ccsn_tf.evaluation.report.clips import see_clip
from ccsn_tf.models.build import build_model, load_model


@pytest.fixture
def run(tiny_data, tiny_manifest, tmp_path):
    def make(**model):
        config = Config(data=tiny_data).replace(
            workdir=str(tmp_path), image_size=32, test_segments=2, embedding_dim=8, **model
        )
        classes, _ = tiny_manifest.select(dataclasses.replace(tiny_data, classes=()), "test")
        network = build_model(config.model, classes)
        randomise_in_scale(network)
        network.save(tmp_path / "model.keras")
        return config

    return make


def test_the_page_of_an_evaluation(run, tmp_path):
    config = run()
    report = evaluate(config, page=tmp_path / "pages" / "mine.html")
    assert report == json.loads((tmp_path / "evaluation.json").read_text())
    first = (tmp_path / "pages" / "mine.html").read_text(encoding="utf-8")
    parsed = Page(first)
    shown = len(parsed.all("article"))
    assert 1 <= shown <= 6 and not parsed.needs()
    strips = [picture for picture in parsed.pictures() if picture.shape[1] > 2 * picture.shape[0]]
    assert len(strips) == STRIPS * shown
    assert report["protocol"] in parsed.text and "connection_stage2" in parsed.text
    evaluate(config, page=tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == first  # the same clips, the same page


def test_without_attention_a_sentence_instead(run, tmp_path):
    evaluate(run(connection="sum"), page=tmp_path / "page.html")
    parsed = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "'sum', which has no attention to show" in parsed.text
    strips = [picture for picture in parsed.pictures() if picture.shape[1] > 2 * picture.shape[0]]
    assert len(strips) == 2 * len(parsed.all("article"))


def test_flow_that_the_network_computes(run, tiny_manifest, tmp_path):
    config = run(flow_source="graph")
    evaluate(config, page=tmp_path / "page.html")
    parsed = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    strips = [picture for picture in parsed.pictures() if picture.shape[1] > 2 * picture.shape[0]]
    assert len(strips) == STRIPS * len(parsed.all("article")) > 0
    clip = next(clip for clip in tiny_manifest.clips if clip.label == "MoveRight")
    seen = see_clip(clip, load_model(str(tmp_path / "model.keras")), config)
    assert seen.frames.shape == (3, 36, 36, 3) and seen.flow.shape == (3, 32, 32, 2)
    np.testing.assert_allclose(np.median(seen.flow, axis=(0, 1, 2)), [2, 0], atol=0.15)


def test_a_folder_is_refused_before_the_work(run, tmp_path):
    config = run()
    with pytest.raises(UserError, match="is a folder: name a file in it"):
        evaluate(config, progress=lambda done, total: pytest.fail("clips were scored"), page=tmp_path)


def test_records_of_other_classes_are_refused_before_the_work(run, tiny_manifest, tmp_path):
    config = run(connection="none")
    (*first, last), model = tiny_manifest.classes, f"which the model in {tmp_path}"
    for known, sentence in (
        (first, f"has class {last}, {model} does not know: give the records"),
        ((*first, last, "Sit"), f"lacks class Sit, {model} knows: give the records"),
    ):
        build_model(config.model, known).save(tmp_path / "model.keras")
        with pytest.raises(UserError, match=f"^--record_dir=.* {sentence}"):
            evaluate(config, progress=lambda done, total: pytest.fail("clips were scored"))
    build_model(config.model, first).save(tmp_path / "model.keras")
    report = evaluate(config.replace(classes=first))  # chosen, so not left out in silence
    assert (report["num_classes"], report["num_clips"]) == (2, 4)


@pytest.mark.parametrize(("segments", "repeating"), [(9, 0), (10, 6)])
def test_clips_with_fewer_places_than_segments_are_counted(run, segments, repeating):
    report = evaluate(run(connection="none").replace(test_segments=segments))  # 13 fields, of which a snippet has 5
    assert report["num_repeating"] == repeating


STRIPS = 5  # frames, flow, and three of attention
