"""The files of a watch: lines that are whole whatever happens, and segments as others read them."""

import contextlib
import csv
import json
import resource

import pytest

from ccsn_tf.errors import UserError
from ccsn_tf.streaming.segments import Segment
from ccsn_tf.streaming.timeline import LineFile, clock, short_clock, write_segments


@contextlib.contextmanager
def room_for(path):
    """Files of this process may not grow beyond the size of this one, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 7, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_lines_wait_for_a_disk_that_is_full(tmp_path):
    path, said = tmp_path / "new" / "a.jsonl", []
    lines = LineFile(str(path), said.append)
    lines.write({"number": 0})
    with room_for(path):
        for number in (1, 2):
            lines.write({"number": number})
            assert path.read_text() == '{"number": 0}\n'
    assert len(said) == 1 and str(path) in said[0]
    lines.write({"number": 3})
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == [0, 1, 2, 3]
    lines.write({"number": 4})
    with room_for(path):
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
