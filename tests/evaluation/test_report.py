"""A report of real records by a real, untrained network."""

import dataclasses
import functools
import json
import shutil
import types

import numpy as np
import pytest
from html_pages import Page
from layers import randomise_in_scale
from small_models import SMALL

from ccsn_tf.config import Config
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation import evaluate as module
from ccsn_tf.evaluation.compare import read_scores
from ccsn_tf.evaluation.evaluate import evaluate
from ccsn_tf.evaluation.pages import seen_strips
from ccsn_tf.evaluation.report import see_clip, turned_by_messages
from ccsn_tf.evaluation.similar import Searcher
from ccsn_tf.models import ccsn
from ccsn_tf.models.build import build_model
from ccsn_tf.models.flow import TVL1Flow
from ccsn_tf.models.flow.loops import LOOPED, iterations
from ccsn_tf.serving.clips import clips_to_try

STRIPS = 5  # frames, flow, and three of attention


@pytest.fixture
def run(tiny_data, tiny_manifest, tmp_path):
    """Makes the config of a run, whose network is saved, and gives both."""

    def make(classes=tiny_manifest.classes, **settings):
        config = Config(data=tiny_data).replace(
            workdir=str(tmp_path), **SMALL, **{"image_size": 32, "test_segments": 2, "embedding_dim": 8, **settings}
        )
        network = build_model(config.model, classes)
        randomise_in_scale(network)
        network.save(tmp_path / "model.keras")
        return config, network

    return make


def no_progress(done, total):
    pytest.fail("clips were scored")


def test_flow_that_the_network_computes(run, tiny_manifest, monkeypatch):
    quick = functools.partial(TVL1Flow, warps=2, iterations=10)
    quick.from_config = TVL1Flow.from_config
    monkeypatch.setattr(ccsn, "TVL1Flow", quick)
    config, network = run(flow_source="graph", num_segments=1)
    clip = next(clip for clip in tiny_manifest.clips if clip.label == "MoveRight")
    with iterations(LOOPED):  # compiling takes longer
        frames, flow, attention = see_clip(clip, network, config)
    assert frames.shape == (3, 32, 32, 3) and flow.shape == (3, 32, 32, 2)
    np.testing.assert_allclose(np.median(flow, axis=(0, 1, 2)), [2, 0], atol=0.15)  # in pixels of the stored frames
    assert len(seen_strips(frames, flow, attention)) == STRIPS
    config = config.replace(flow_source="stored", connection="sum")
    shown, same, attention = see_clip(clip, build_model(config.model, ["MoveRight"]), config)
    np.testing.assert_array_equal(shown, frames)
    np.testing.assert_allclose(np.median(same, axis=(0, 1, 2)), [2, 0], atol=0.15)
    assert attention is None and len(seen_strips(shown, same, attention)) == 2


def test_records_of_another_data_set_with_some_of_the_classes(run, tiny_data, tiny_manifest, tmp_path):
    """As another reader leaves them, with a split of its own: the same clips have the same scores."""
    config, _ = run(connection="none", test_segments=10)
    assert evaluate(config, page=tmp_path / "page.html")["num_repeating"] == 6  # 13 fields, of which a snippet has 5
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "'none', which has no attention to show" in page.text and len(page.strips()) == 2 * len(page.all("article"))
    first = read_scores(tmp_path)
    shutil.copytree(tiny_data.record_dir, tmp_path / "other")
    kept = [clip for clip in tiny_manifest.clips if clip.label != "MoveDown"]
    names = {side: [c.name for c in kept if c.name in tiny_manifest.splits[1][side]] for side in ("train", "test")}
    settings = {**tiny_manifest.settings, "dataset": "folder"}
    other = dataclasses.replace(
        tiny_manifest, settings=settings, classes=("MoveRight", "MoveLeft"), splits={7: names}, clips=tuple(kept)
    )
    (tmp_path / "other" / "manifest.json").write_text(other.to_json())
    config = config.replace(record_dir=str(tmp_path / "other"))
    report = evaluate(config)
    assert (report["dataset"], report["split"], report["num_clips"]) == ("folder", 7, 4)
    assert {row["class"]: row["clips"] for row in report["classes"]} == {"MoveDown": 0, "MoveLeft": 2, "MoveRight": 2}
    second, same = read_scores(tmp_path), ~np.char.startswith(first["names"], "MoveDown")
    assert second["names"].tolist() == first["names"][same].tolist()
    np.testing.assert_allclose(second["fused"], first["fused"][same], atol=1e-5)
    np.testing.assert_array_equal(second["labels"], first["labels"][same])
    with clips_to_try(config, tiny_manifest.classes, 2, must_be_real=True) as clips:  # of an export
        assert {clip.name for clip in clips.stored} <= set(names["test"])
    made = dataclasses.replace(other, settings={**settings, "flow_bound": 10.0})
    (tmp_path / "other" / "manifest.json").write_text(made.to_json())
    with pytest.raises(UserError, match=r"--record_dir=.* flow_bound=10\.0, and the model wants 20\.0: prepare"):
        evaluate(config, no_progress)


def test_the_page_of_an_evaluation_that_tells_unknown_classes_apart(run, tiny_manifest, tmp_path):
    *known, unknown = tiny_manifest.classes
    config, _ = run(tuple(known), unknown_classes=(unknown,))
    Searcher(config, str(tmp_path / "index.npz"))
    report = evaluate(config, page=tmp_path / "pages" / "mine.html")
    assert (report["num_clips"], report["num_unknown"], report["num_repeating"]) == (4, 2, 0)
    assert report == json.loads((tmp_path / "evaluation.json").read_text())
    page = Page((tmp_path / "pages" / "mine.html").read_text(encoding="utf-8"))
    shown = len(page.all("article"))
    assert shown and not page.needs() and report["protocol"] in page.text and "connection_first" in page.text
    told = page.text.count("most like these training clips")
    assert told >= len(report["most_confused"])  # one of each pair of classes is shown, and those that messages turn
    assert len(page.strips()) == STRIPS * shown + told
    assert all(0 <= each["auroc"] <= 1 for each in report["rejection"].values())
    assert report["calibration"]["fused"].keys() == {"temperature", "ece_before", "ece_after"}
    with np.load(tmp_path / "class_embeddings.npz") as means:
        assert means["classes"].tolist() == known and means["temporal"].shape == (2, 8)
    with pytest.raises(UserError, match=f"--unknown_classes={known[0]} "):
        evaluate(config.replace(unknown_classes=(known[0],)), no_progress)
    np.savez(tmp_path / "index.npz", model="0", names=["a"], labels=["b"])  # of the model before
    said = []
    again = evaluate(config.replace(average="probabilities"), page=tmp_path / "page.html", say=said.append)
    assert "index.npz was made by another model" in said[0]
    assert again["rejection"].keys() == {"embedding", "softmax", "temperature"}


def test_what_is_refused_before_the_work(tiny_data, tiny_manifest, tmp_path, monkeypatch):
    config = Config(data=tiny_data).replace(workdir=str(tmp_path))
    with pytest.raises(UserError, match=r"--report=.* is a folder"):
        evaluate(config, no_progress, page=tmp_path)
    (*first, last), model = tiny_manifest.classes, f"the model in {tmp_path}"
    for known, sentence in (
        (("Sit", "Stand"), f"has no class of {model}: give records of Sit, Stand"),
        (first, f"has class {last}, which {model} does not know"),
    ):
        monkeypatch.setattr(module, "load_model", lambda path, known=known: types.SimpleNamespace(classes=known))
        with pytest.raises(UserError, match=f"^--record_dir=.* {sentence}"):
            evaluate(config, no_progress)
    module._refuse_other_classes(first, tiny_manifest.classes, config.replace(classes=first))  # chosen: not in silence


def test_clips_that_messages_turn_are_those_whose_answer_changes_the_most_gained_first():
    labels = np.array([0, 0, 0, 1, 1])
    alone = np.array([[0.0, 1], [0, 3], [1, 0], [0, 1], [1, 0]])
    joined = np.array([[1.0, 0], [3, 0], [2, 0], [1, 0], [1, 0]])
    assert turned_by_messages(joined, alone, labels, list("abcde")) == {"right": [1, 0], "wrong": [3]}
    same = np.tile(joined[:1], (2, 1)), np.tile(alone[:1], (2, 1))
    assert turned_by_messages(*same, labels[:2], ["b", "a"])["right"] == [1, 0], "by name"
