"""Windows to segments, against a plain loop over time; and the files of both, whole whatever happens."""

import csv
import itertools
import json

import numpy as np
import pytest
from processes import full_disk

from ccsn_tf.errors import UserError
from ccsn_tf.streaming.timeline import LineFile, Segment, SegmentMerger, clock, short_clock, write_segments

CLASSES = ("a", "b", "c")
EVERY, WINDOW = 0.5, 2.0


def plain(windows, scores, enter, leave, shortest):
    """Segments by going through every class by itself, with all windows at hand."""
    found, short = [], 0
    spans = []
    for number, (start, end) in enumerate(windows):
        middle = (start + end) / 2
        before = number and middle - sum(windows[number - 1]) / 2
        begins = start if not number else max(start, windows[number - 1][1])
        if number and before <= 1.5 * EVERY:
            begins = sum(windows[number - 1]) / 2 + EVERY / 2
        spans.append((begins, not number or before > 1.5 * EVERY))
    for index, name in enumerate(CLASSES):
        number = 0
        while number < len(windows):
            if scores[number][index] < enter:
                number += 1
                continue
            first = number
            number += 1
            while number < len(windows) and scores[number][index] >= leave and not spans[number][1]:
                number += 1
            goes_on = number < len(windows) and not spans[number][1]
            end = spans[number][0] if goes_on else windows[number - 1][1]
            if end - spans[first][0] >= shortest - 1e-9:
                mean = np.mean([scores[each][index] for each in range(first, number)])
                found.append((name, spans[first][0], end, float(mean)))
            else:
                short += 1
    return sorted(found, key=lambda each: (each[1], each[2], each[0])), short


@pytest.mark.parametrize("seed", range(3))
def test_against_a_plain_loop(seed):
    rng = np.random.default_rng(seed)
    ends = WINDOW + EVERY * np.flatnonzero(rng.random(120) < 0.93)  # some windows had no answer
    windows = [(end - WINDOW, end) for end in ends.tolist()]
    walk = np.cumsum(rng.normal(0, 0.7, (len(windows), 3)), axis=0)
    scores = np.exp(walk) / np.exp(walk).sum(axis=1, keepdims=True)
    for enter, leave, shortest in ((0.5, 0.3, 1.0), (0.4, 0.4, 0.0), (0.9, 0.2, 3.0)):
        merger = SegmentMerger(CLASSES, EVERY, enter, leave, shortest)
        for window, row in zip(windows, scores, strict=True):
            merger.add(*window, row)
        expected, short = plain(windows, scores, enter, leave, shortest)
        found = [(each.label, each.start, each.end, each.score) for each in merger.finish()]
        assert [each[0] for each in found] == [each[0] for each in expected] and merger.dropped == short
        np.testing.assert_allclose([each[1:] for each in found], [each[1:] for each in expected])
        for name in CLASSES:  # a class's segments do not overlap
            own = sorted(each[1:3] for each in found if each[0] == name)
            assert all(one[1] <= other[0] + 1e-9 for one, other in itertools.pairwise(own))


def test_a_change_is_half_way_between_two_windows():
    merger = SegmentMerger(CLASSES, EVERY)
    for number in range(8):
        merger.add(
            EVERY * number, EVERY * number + WINDOW, np.array([0.9, 0.1, 0.0] if number < 4 else [0.1, 0.9, 0.0])
        )
    (first, second) = merger.finish()
    assert (first.label, first.start, first.end) == ("a", 0.0, 2.75) and first.score == pytest.approx(0.9)
    assert (second.label, second.start, second.end) == ("b", 2.75, 5.5)


@pytest.mark.parametrize("arguments", [(0.3, 0.5, 1.0), (1.5, 0.3, 1.0), (0.5, 0.0, 1.0), (0.5, 0.3, -1.0)])
def test_what_cannot_be_merged_by(arguments):
    with pytest.raises(UserError, match="`enter`"):
        SegmentMerger(CLASSES, EVERY, *arguments)


def test_lines_wait_for_a_disk_that_is_full(tmp_path):
    path, said = tmp_path / "new" / "a.jsonl", []
    lines = LineFile(str(path), said.append)
    lines.write({"number": 0})
    with full_disk(path.stat().st_size + 7):
        for number in (1, 2):
            lines.write({"number": number})
            assert path.read_text() == '{"number": 0}\n'
    assert len(said) == 1 and str(path) in said[0]
    lines.write({"number": 3})
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == [0, 1, 2, 3]
    lines.write({"number": 4})
    with full_disk(path.stat().st_size + 7):
        lines.write({"number": 5})
        with pytest.raises(UserError, match=r"a\.jsonl cannot be written .* 1 lines are lost"):
            lines.close()


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "a.vtt").write_text("mine")
    for name, words in (("a.jsonl", r"a\.vtt exists"), ("b.json", r"`output`.*\.jsonl"), ("a.vtt/b", "be written")):
        with pytest.raises(UserError, match=words):
            LineFile(str(tmp_path / name), print)
    assert (tmp_path / "a.vtt").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


def test_segments_as_json_subtitles_and_csv(tmp_path):
    segments = [Segment('say "a" <b> & c, d', 0.5, 3725.0004, 0.876), Segment("é", 4000.0, 4001.5, 1.0)]
    write_segments(str(tmp_path / "a.jsonl"), segments, {"window": 2.0})
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["window"] == 2.0 and found["segments"][0] == {
        "class": 'say "a" <b> & c, d',
        "start": 0.5,
        "end": 3725.0,
        "score": 0.876,
    }
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        assert [row["class"] for row in csv.DictReader(file)] == [each.label for each in segments]
    lines = (tmp_path / "a.vtt").read_text().split("\n")
    assert lines[0] == "WEBVTT" and lines[1] == ""
    assert lines[2:4] == ["00:00:00.500 --> 01:02:05.000", 'say "a" &lt;b&gt; &amp; c, d 88 %'] and lines[4] == ""


def test_clock_rounds_up_whole():
    assert [clock(seconds) for seconds in (0, 59.9996, 360000.5)] == ["00:00:00.000", "00:01:00.000", "100:00:00.500"]
    assert [short_clock(seconds) for seconds in (0, 61.25, 3600)] == ["00:00.0", "01:01.2", "01:00:00.0"]
