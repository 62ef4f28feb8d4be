"""Where frames come from, and when they were: real files, and servers on this machine."""

import os
import threading

import numpy as np
import pytest
import videos
from streams import broadcast

from ccsn_tf.errors import UserError
from ccsn_tf.streaming import source as module
from ccsn_tf.streaming.source import StreamSource, _Clock, open_source


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(module, "_LONGEST_PAUSE", 0.05)


def transport_stream(path, num_frames=60, **options):
    """The bytes of an MPEG transport stream with a key frame every 10 frames."""
    settings = {"crf": "8", "g": "10", "bf": "0"}
    frames = videos.moving(num_frames, (1, 0))
    return videos.write_video(path, frames, codec="libx264", format="mpegts", options=settings, **options).read_bytes()


def read(source, until=lambda frames, said: False):
    """(frames, lines that were said) until the source ends, or `until` says so."""
    stopped, frames, said = threading.Event(), [], []

    def say(line):
        said.append(line)
        if until(frames, said):
            stopped.set()

    for frame in source.frames(256, stopped, say):
        frames.append(frame)
    return frames, said


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv", ".ts"])
def test_times_of_a_file(tmp_path, suffix):
    codec = {"codec": "libx264", "format": "mpegts"} if suffix == ".ts" else {}
    path = videos.write_video(tmp_path / f"a{suffix}", videos.moving(20), **codec)
    source = open_source(str(path))
    frames, _ = read(source)
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(20) / 25, atol=2e-3)
    assert not source.live and source.seconds == pytest.approx(0.8, abs=0.1)


def test_times_of_a_variable_rate(tmp_path):
    times = [50, 51, 52, 53, 60, 61, 62, 90, 91]  # and of a late start, which browsers show as it is
    path = videos.write_video(tmp_path / "a.mp4", videos.moving(9), times=times)
    frames, _ = read(open_source(str(path)))
    np.testing.assert_allclose([frame.time for frame in frames], np.array(times) / 25, atol=1e-3)


def test_a_stream_without_an_end_that_breaks_and_returns(tmp_path):
    sent = transport_stream(tmp_path / "a.ts")
    with broadcast(sent[: len(sent) // 2], sent) as address:
        source = open_source(address)
        frames, said = read(source, until=lambda frames, said: len(said) == 3)
    assert source.live and source.reconnections == 1
    times = [frame.time for frame in frames]
    assert 80 <= len(frames) <= 90 and (np.diff(times) > 0).all()
    (second,) = (number for number, frame in enumerate(frames) if not frame.follows)
    assert 20 <= second <= 30
    np.testing.assert_allclose(np.diff(times[second:]), 0.04, atol=2e-3)
    assert all("broke off" in line and "opened again in" in line for line in said)
    pauses = [float(line.rpartition(" in ")[2].removesuffix(" s.")) for line in said]
    assert pauses[0] <= pauses[1] < pauses[2]


def test_a_stream_that_falls_silent_is_opened_again(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_SILENCE", 0.5)
    sent = transport_stream(tmp_path / "a.ts")
    with broadcast(sent[: len(sent) // 2], sent, silence=60) as address:
        frames, said = read(open_source(address), until=lambda frames, said: len(said) == 2)
    assert "nothing came for 0.5 s" in said[0] and len(frames) > 80
    (second,) = (number for number, frame in enumerate(frames) if not frame.follows)
    assert frames[second].time - frames[second - 1].time > 0.03


def test_a_recording_that_breaks_goes_on_where_it_was(tmp_path):
    sent = transport_stream(tmp_path / "a.ts")
    with broadcast(sent[: len(sent) // 2], sent, length=len(sent)) as address:
        source = open_source(address)
        frames, said = read(source)
    assert not source.live and len(said) == 1 and source.reconnections == 1
    assert source.late == 0 and all(frame.follows for frame in frames)
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(60) / 25, atol=2e-3)


def test_a_stream_whose_frames_change_their_size(tmp_path):
    small = transport_stream(tmp_path / "a.ts", 20)
    large = videos.moving(20, height=48, width=64)
    options = {"codec": "libx264", "format": "mpegts", "options": {"bf": "0"}, "times": range(20, 40)}
    both = small + videos.write_video(tmp_path / "b.ts", large, **options).read_bytes()
    with broadcast(both, length=len(both)) as address:
        frames, _ = read(open_source(address))
    sizes = [frame.image.shape[:2] for frame in frames]
    assert sizes[0] == (36, 48) and sizes[-1] == (48, 64) and len(sizes) >= 38


def test_frames_out_of_order_are_left_out_and_counted(tmp_path):
    """A live stream that is sent again from 0.4 seconds before, as after a loss."""
    options = {"codec": "libx264", "format": "mpegts", "options": {"bf": "0"}, "times": range(20, 50)}
    first = transport_stream(tmp_path / "a.ts", 30)
    again = videos.write_video(tmp_path / "b.ts", videos.moving(30), **options).read_bytes()
    with broadcast(first + again) as address:
        source = open_source(address)
        frames, _ = read(source, until=lambda frames, said: len(said) == 1)
    assert source.live and source.late == 10 and len(frames) == 50
    np.testing.assert_allclose(np.diff([frame.time for frame in frames]), 0.04, atol=2e-3)


def test_standard_input(tmp_path, monkeypatch):
    transport_stream(tmp_path / "a.ts")
    descriptor = os.open(tmp_path / "a.ts", os.O_RDONLY)
    kept = os.dup(0)
    try:
        os.dup2(descriptor, 0)
        source = open_source("-")
        frames, said = read(source)
    finally:
        os.dup2(kept, 0)
        os.close(descriptor)
        os.close(kept)
    assert source.live and len(frames) == 60 and not said
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(60) / 25, atol=2e-3)


def test_the_clock_of_a_live_stream():
    clock, rate = _Clock(), 25
    clock.connect()
    assert clock.live(1000.0, 50.0, rate) == (0.0, True)  # a stream that began before we came
    assert clock.live(1000.04, 51.0, rate) == (pytest.approx(0.04), True)
    assert clock.live(1000.02, 51.1, rate) == (None, True)  # too late
    assert clock.live(None, 51.1, rate) == (pytest.approx(0.08), True)
    assert clock.live(3.0, 55.0, rate) == (pytest.approx(5.0), False)  # it counts anew: on by the clock
    assert clock.live(3.5, 55.4, rate) == (pytest.approx(5.5), True)
    clock.connect()
    assert clock.live(7.0, 55.45, rate)[0] == pytest.approx(5.54)  # never back


@pytest.mark.parametrize(
    "text, words",
    [
        ("gopher://a/b", "gopher://a/b is of no known kind"),
        ("ftp://me:secret@a/b", r"ftp://\*\*\*@a/b is of no known kind"),
        ("file:///etc/passwd", "of no known kind"),
        ("77", "camera 77 gives no video"),
        ("http://127.0.0.1:9/a", "http://127.0.0.1:9/a gives no video .*refused"),
        ("http://me:secret@127.0.0.1:9/a", r"http://\*\*\*@127.0.0.1:9/a gives no video"),
        ("absent.mp4", "absent.mp4 does not exist"),
        (".", r"\. is a folder"),
    ],
)
def test_what_gives_no_video(text, words):
    with pytest.raises(UserError, match=words) as caught:
        read(open_source(text))
    assert "secret" not in str(caught.value)


def test_an_address_that_sends_something_else():
    with broadcast(b"hello" * 1000) as address, pytest.raises(UserError, match=rf"{address} gives no video"):
        read(open_source(address))


def test_a_playlist_cannot_name_a_file(tmp_path):
    path = videos.write_video(tmp_path / "a.mp4", videos.moving(20))
    playlist = f"ffconcat version 1.0\nfile 'file:{path}'\n".encode()
    with broadcast(playlist) as address, pytest.raises(UserError, match="gives no video"):
        read(open_source(address))
    assert isinstance(open_source("rtsp://127.0.0.1/a"), StreamSource)
