"""A source watched from its first frame to its files."""

import contextlib
import json
import threading

import numpy as np
import pytest
import videos
from html_pages import Page
from rtsp_camera import Camera
from streams import CLASSES, BrightnessModel, LiveFrames, broadcast, grey_frames

from ccsn_tf.errors import UserError
from ccsn_tf.streaming import source as module
from ccsn_tf.streaming.source import open_source
from ccsn_tf.streaming.watch import WatchSettings, watch


@pytest.fixture(scope="module")
def day_and_night(tmp_path_factory):
    """A video of 4 seconds that are dark, 4 that are bright and 2 that are dark."""
    frames = grey_frames([20] * 100 + [235] * 100 + [20] * 50)
    return videos.write_video(tmp_path_factory.mktemp("day") / "day & night.mp4", frames)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def until(seconds):
    """An event, and what sets it when this time of a stream is answered: frames that wait before are not left out."""
    stopped = threading.Event()
    return stopped, lambda answer, top: answer.end >= seconds - 1e-6 and stopped.set()


def test_a_video_to_its_segments(day_and_night, tmp_path):
    settings = WatchSettings(output=str(tmp_path / "t.jsonl"), page=str(tmp_path / "sub" / "t.html"), top_k=1)
    model, shown = BrightnessModel(), []
    found = watch(model, open_source(str(day_and_night)), settings, threading.Event(), lambda *each: shown.append(each))
    assert names(tmp_path) == ["sub", "t.csv", "t.json", "t.jsonl", "t.vtt"]
    rows = [(each.label, round(each.start), round(each.end)) for each in found.segments]
    assert rows == [("dark", 0, 4), ("bright", 4, 8), ("dark", 8, 10)]
    assert all(each.score > 0.7 for each in found.segments) and found.counts["frames"] == 250
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert len(lines) == len(shown) == found.counts["windows"] == 17 and len(found.delays) == 17
    assert lines[0].keys() == {"start", "end", "snippets", "top"} and (lines[0]["start"], lines[0]["end"]) == (0, 2)
    summary = json.loads((tmp_path / "t.json").read_text())
    assert summary["classes"] == list(CLASSES) and summary["counts"]["windows"] == 17
    page = Page((tmp_path / "sub" / "t.html").read_text())
    (player,) = page.all("video")
    assert player["src"].endswith("day%20%26%20night.mp4") and page.needs() == [player["src"]]
    assert len(page.all("figure")) == 2  # frame and flow
    assert len(page.all("rect")) == 3 and len(page.all("path")) == 2
    with pytest.raises(UserError, match=r"t\.jsonl exists"):
        watch(model, open_source(str(day_and_night)), settings, threading.Event())


def test_behind_real_time_snippets_are_dropped():
    said, model = [], BrightnessModel(segments=25, seconds=0.15)  # it may take 0.04
    settings = WatchSettings(window=1.0, every=0.25)
    found = watch(model, LiveFrames(grey_frames([0] * 60)), settings, threading.Event(), say=said.append)
    assert found.counts["dropped"] > 0 and "dropped to catch up" in said[0]
    assert found.counts["windows"] >= 2 and found.delays.max() < 2.5


def test_files_are_waited_for(day_and_night):
    model = BrightnessModel(segments=2, seconds=0.05)
    found = watch(model, open_source(str(day_and_night)), WatchSettings(), threading.Event())
    assert found.counts["dropped"] == found.counts["lost"] == 0 and found.counts["frames"] == 250


def test_a_stream_that_breaks_and_returns(day_and_night, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.01)
    frames = grey_frames([20] * 50)  # no more than may wait
    options = {"codec": "libx264", "format": "mpegts", "options": {"g": "10", "bf": "0"}}
    sent = videos.write_video(tmp_path / "a.ts", frames, **options).read_bytes()
    stopped, show = until(3.0)
    settings = WatchSettings(window=1.0, every=0.5, output=str(tmp_path / "t.jsonl"), page=str(tmp_path / "t.html"))
    with broadcast(sent[: 2 * len(sent) // 3], sent) as address:
        found = watch(BrightnessModel(), open_source(address), settings, stopped, show)
    assert found.counts["interruptions"] in (1, 2)  # the cut packet may be one too
    assert found.counts["reconnections"] >= 1
    ends = [json.loads(line)["end"] for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert len(ends) >= 5 and (np.diff(ends) > 0).all()
    assert not Page((tmp_path / "t.html").read_text()).all("video")


def test_a_camera_that_dies_and_comes_back(tmp_path, monkeypatch):
    """By RTSP: dark until it dies, refused for a while, then bright from the same port."""
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.2)
    said, shown, cameras, (stopped, show) = [], [], contextlib.ExitStack(), until(5.5)
    camera = cameras.enter_context(Camera(grey_frames([20] * 75)))

    def say(line):
        said.append(line)
        if len(said) == 1:  # it is dead before it is opened again
            cameras.close()
        elif len(said) == 2:
            cameras.enter_context(Camera(grey_frames([235] * 75), port=camera.server_address[1]))

    def show_and_keep(answer, top):
        shown.append(answer)
        show(answer, top)

    settings = WatchSettings(window=1.0, every=0.5, output=str(tmp_path / "t.jsonl"))
    with cameras:
        source = open_source(camera.address)
        found = watch(BrightnessModel(), source, settings, stopped, show_and_keep, say)
    assert ["refused" in line for line in said[:2]] == [False, True] and found.counts["reconnections"] == 1
    assert found.counts["frames"] >= 135 and (found.counts["interruptions"], found.counts["lost"]) == (1, 0)
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert len(lines) == len(shown) == found.counts["windows"] >= 10
    named = [line["top"][0]["class"] for line in lines]
    assert named == sorted(named, reverse=True) and named.count("dark") >= 5 and named.count("bright") >= 4
    assert [(each.label, round(each.start)) for each in found.segments] == [("dark", 0), ("bright", 3)]


def test_without_an_answer_nothing_is_left(tmp_path):
    short = videos.write_video(tmp_path / "in" / "short.mp4", grey_frames([0] * 2))
    settings = WatchSettings(output=str(tmp_path / "out" / "t.jsonl"))
    with pytest.raises(UserError, match=r"short\.mp4 has 2 frames"):
        watch(BrightnessModel(), open_source(str(short)), settings, threading.Event())
    assert names(tmp_path / "out") == []


def test_a_damaged_file_keeps_its_answers(day_and_night, tmp_path):
    frames = videos.moving(150, seed=1)
    path = videos.truncate(videos.write_video(tmp_path / "cut.avi", frames), 0.6)
    settings = WatchSettings(output=str(tmp_path / "t.jsonl"))
    with pytest.raises(UserError, match=r"cut\.avi is truncated"):
        watch(BrightnessModel(), open_source(str(path)), settings, threading.Event())
    summary = json.loads((tmp_path / "t.json").read_text())
    assert summary["counts"]["windows"] >= 2


def test_a_page_that_is_a_folder(day_and_night, tmp_path):
    with pytest.raises(UserError, match="`page`"):
        settings = WatchSettings(page=str(tmp_path))
        watch(BrightnessModel(), open_source(str(day_and_night)), settings, threading.Event())


def test_windows_that_are_rejected_are_none(day_and_night, tmp_path):
    settings, shown = WatchSettings(output=str(tmp_path / "t.jsonl")), []

    def rejects(outputs):
        return outputs["scores"][1] > 0.5  # what is bright

    found = watch(
        BrightnessModel(), open_source(str(day_and_night)), settings, threading.Event(),
        lambda answer, top: shown.append((answer.outputs["scores"][1] > 0.5, top)), rejects=rejects,
    )  # fmt: skip
    rows = [(each.label, round(each.start), round(each.end)) for each in found.segments]
    assert rows == [("dark", 0, 4), ("dark", 8, 10)]
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert found.counts["rejected"] == sum("none" in line for line in lines) > 4 and len(lines) == 17
    assert all((top == []) == bright for bright, top in shown) and all(line["top"] for line in lines)
