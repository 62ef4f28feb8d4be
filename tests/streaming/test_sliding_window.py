"""Frames in, answers out: which snippets, which windows, and the answers of `predict`."""

import collections

import numpy as np
import pytest
import videos
from small_models import SIZE, model
from streams import BrightnessModel, grey_frames

from ccsn_tf.config import Config
from ccsn_tf.data.video import iter_timed
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.predict import make_forward, predict_video
from ccsn_tf.models.flow import TVL1Flow
from ccsn_tf.models.flow.loops import LOOPED, iterations
from ccsn_tf.streaming.sliding_window import AT_ONCE, WHEN_DUE, WHEN_FULL, SnippetRing, Watcher
from ccsn_tf.streaming.stream_model import TrainedModel

FPS, LENGTH, SEGMENTS = videos.FPS, 3, 4
LOSSLESS = {"codec": "ffv1", "pix_fmt": "bgr0"}


def changing(num_frames):
    """A texture that speeds up: every snippet is another one."""
    long = videos.moving(80, (1, 0))
    return long[[min(79, index * index // 20) for index in range(num_frames)]]


@pytest.fixture
def without_xla():
    """Compiling takes longer than what is computed here."""
    with iterations(LOOPED):
        yield


@pytest.mark.usefixtures("without_xla")
@pytest.mark.parametrize("stride, source", [(2, "stored"), (1, "graph")])
def test_a_window_is_answered_as_predict_does_its_snippets(tmp_path, stride, source):
    quick = {"flow": TVL1Flow(levels=2, warps=1, iterations=2)} if source == "graph" else {}
    network = model(flow_length=LENGTH, flow_source=source, **quick)
    config = Config().replace(image_size=SIZE, flow_length=LENGTH, flow_stride=stride, flow_source=source)
    frames = changing(34)
    path = videos.write_video(tmp_path / "whole.mkv", frames, **LOSSLESS)
    # A snippet every two stored frames; a window has three, the fourth reaches beyond its end.
    hop = 2 * stride
    window, every = SEGMENTS * hop / FPS, 2 * hop / FPS
    watcher = Watcher(TrainedModel(network, config.replace(test_segments=SEGMENTS)), window, every)
    answers = [answer for time, frame in iter_timed(path, 256) for answer in watcher.push(time, frame)]
    forward = make_forward(network)
    assert len(answers) >= 3 and np.ptp([answer.outputs["scores"] for answer in answers], axis=0).max() > 1e-3
    for answer in answers[1:3]:
        # Cut so that the middles of three parts, which `predict` looks at, are these snippets.
        first = round(answer.start * FPS) - stride
        cut = frames[first : first + stride * (2 * answer.snippets + LENGTH - 1) + 1]
        part = videos.write_video(tmp_path / f"{first}.mkv", cut, **LOSSLESS)
        expected = predict_video(str(part), forward, config.replace(test_segments=answer.snippets))
        assert answer.snippets == 3
        for name, output in (("fused", "scores"), ("spatial", "spatial_scores"), ("temporal", "temporal_scores")):
            np.testing.assert_allclose(answer.outputs[output], expected[name], atol=1e-5)


def test_each_pair_of_frames_has_its_flow_once(monkeypatch):
    ring = SnippetRing(Config().replace(image_size=SIZE, flow_length=LENGTH), spacing=1 / FPS)
    estimate, pairs = ring._estimate, collections.Counter()

    def counted(previous, following):
        pairs[previous.tobytes()] += 1
        return estimate(previous, following)

    monkeypatch.setattr(ring, "_estimate", counted)
    made = [ring.inputs() for number, frame in enumerate(changing(20)) if ring.push(number / FPS, frame)]
    assert len(made) == 20 - LENGTH and sum(pairs.values()) == 19
    assert made[0]["flow"].shape == (SIZE, SIZE, 2 * LENGTH)
    assert max(len(ring._frames), len(ring._fields)) <= LENGTH + 1


@pytest.mark.parametrize(("segments", "look"), [(1, WHEN_DUE), (7, AT_ONCE), (7, WHEN_FULL), (200, WHEN_DUE)])
def test_each_snippet_is_looked_at_once_and_a_plain_loop_finds_the_windows(segments, look):
    watched = BrightnessModel(segments=segments)
    watcher = Watcher(watched, window=1.0, every=0.4)
    rng = np.random.default_rng(segments)
    times = np.cumsum(rng.uniform(0.01, 0.12, 150))  # as cameras do that wait for light
    times[90:] += 0.7
    levels = rng.integers(0, 256, 150)
    answers = []
    for time, frame in zip(times, grey_frames(levels), strict=True):
        answers += watcher.push(time, frame, look=look)
    answers += watcher.finish("a")
    starts, due = [], times[0]
    for number in range(150):
        if times[number] >= due - 1e-3:
            starts.append(number)
            while due <= times[number] + 1e-3:
                due += 1.0 / segments
    snippets = [(times[n], times[n + 2], np.mean(levels[n : n + 3]) / 255) for n in starts if n + 2 < 150]
    assert watcher.counts["snippets"] == len(snippets)
    assert len(snippets) <= sum(watched.passes) < len(snippets) + 4  # the last pass is filled up
    assert set(watched.passes) <= ({4} if look == WHEN_FULL else {1, 4})
    expected, number = [], 0
    while (end := times[0] + 1.0 + 0.4 * number) <= times[-1]:
        expected.append((end - 1.0, end))
        number += 1
    expected.append((times[-1] - 1.0, times[-1]))
    wanted = []
    for start, end in expected:
        inside = [value for begins, ends, value in snippets if begins >= start - 1e-3 and ends <= end + 1e-3]
        if inside:
            wanted.append((start, end, len(inside), np.mean(inside)))
    if snippets[-1][1] <= expected[-2][1] + 1e-3:  # nothing new after the last whole window
        del wanted[-1]
    found = [(each.start, each.end, each.snippets, each.outputs["scores"][1]) for each in answers]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_what_does_not_follow_begins_anew():
    watcher = Watcher(BrightnessModel(length=4, segments=8), window=1.0, every=0.5)
    small, large = grey_frames([0] * 25), grey_frames([255] * 25, height=30)
    answers = []
    for number, frame in enumerate([*small, *large]):  # the stream changes its size
        answers += watcher.push(number / FPS, frame)
    for number, frame in enumerate(small):
        answers += watcher.push(60 + number / FPS, frame, follows=number > 0)
    assert watcher.counts["interruptions"] == 2
    scores = {round(answer.end, 2): answer.outputs["scores"][1] for answer in answers}
    assert scores[1.5] > 0 and scores[2.0] == 1 and scores[60.5] == 0
    assert not [end for end in scores if 3.0 < end < 60.0]


def test_dropped_snippets_are_counted_and_windows_do_without():
    watchers = [Watcher(BrightnessModel(segments=8), window=1.0, every=0.5) for _ in range(2)]
    ends = []
    for number, frame in enumerate(grey_frames([0] * 70)):
        watchers[0].push(number / FPS, frame)
        ends += [answer.end for answer in watchers[1].push(number / FPS, frame, drop=25 <= number < 65)]
    counts, other = (watcher.counts for watcher in watchers)
    assert other["dropped"] >= 12 and other["dropped"] + other["snippets"] == counts["snippets"]
    assert ends == [1.0, 1.5]


def test_memory_is_bounded():
    watcher = Watcher(BrightnessModel(), window=1.0, every=0.5)
    frame, sizes = grey_frames([0])[0], set()
    for number in range(3000):
        watcher.push(number / FPS, frame)
        sizes.add((len(watcher._features), len(watcher._ring._frames), len(watcher._ring._starts)))
    assert all(max(each) < 12 for each in sizes)


@pytest.mark.parametrize(
    "window, every, num_frames, words",
    [
        (0.0, 0.5, 5, "`window`=0"),
        (1.0, 2.0, 5, "`every`=2"),
        (float("nan"), 0.5, 5, "`window`"),
        (0.1, 0.1, 50, r"`window`=0.1 is shorter than a snippet of 5 frames, which takes 0.16 seconds"),
        (2.0, 0.5, 4, "a has 4 frames: .* needs 5"),
    ],
)
def test_what_cannot_be_watched(window, every, num_frames, words):
    with pytest.raises(UserError, match=words):
        watcher = Watcher(BrightnessModel(length=4), window, every)
        for number, frame in enumerate(grey_frames([0] * num_frames)):
            watcher.push(number / FPS, frame)
        watcher.finish("a")


def test_flow_images_have_no_stream():
    with pytest.raises(UserError, match="`flow` stored"):
        SnippetRing(Config().replace(flow="stored"), 0.1)
