import json
import urllib.error
import urllib.request

import cv2
import numpy as np
import pytest
from html_pages import dumped

from ccsn_tf.errors import UserError
from ccsn_tf.streaming.live_page import LivePage
from ccsn_tf.streaming.sliding_window import Answer
from ccsn_tf.streaming.source import Frame


@pytest.fixture
def live():
    page = LivePage("0", "door <1>")
    yield page
    page.close()


def got(page, path="", host=None):
    request = urllib.request.Request(page.url + path, headers={"Host": host} if host else {})
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.read()


def answer(page, number, top):
    page.add(Answer(number, number + 2.0, 3, {}), top)


def test_windows_and_pictures_are_there_as_they_come(live):
    with pytest.raises(urllib.error.HTTPError):
        got(live, "picture")
    live.see(Frame(0.0, np.full((48, 64, 3), (250, 10, 20), np.uint8), 0.0))
    assert cv2.imdecode(np.frombuffer(got(live, "picture"), np.uint8), 1).mean((0, 1))[2] > 200
    assert json.loads(got(live, "windows")) == {"name": "door <1>", "count": 0, "windows": []}
    for number in range(3):
        answer(live, number, [("kick", 0.5 + number / 10), ("run", 0.1)])
    answer(live, 3, [])  # none of the classes
    found = json.loads(got(live, "windows?after=2"))
    assert found["count"] == 4 and [each["start"] for each in found["windows"]] == [2, 3]
    assert found["windows"][0]["top"] == [["kick", 0.7], ["run", 0.1]] and found["windows"][1]["top"] == []
    assert len(json.loads(got(live, "windows?after=x"))["windows"]) == 4
    assert b"<!DOCTYPE html>" in got(live)


def test_other_sites_get_nothing(live):
    for host, path in (("evil.example", ""), ("evil.example", "windows"), ("localhost", "../etc/passwd")):
        with pytest.raises(urllib.error.HTTPError):
            got(live, path, host)


@pytest.mark.parametrize("address", ["", "here", "localhost:", "99999", "127.0.0.1:http"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(UserError, match="serve"):
        LivePage(address, "a")


def test_a_port_that_is_taken_is_refused(live):
    with pytest.raises(UserError, match="serve"):
        LivePage(live.url.rpartition(":")[2].strip("/"), "a")


@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_it(live, tmp_path, width):
    live.see(Frame(0.0, np.zeros((48, 64, 3), np.uint8), 0.0))
    answer(live, 0, [("Pretending to put something behind something else", 0.75)])
    shown = dumped(live.url, width, tmp_path)
    assert "<b>Pretending to put something behind something else</b>" in shown and "75 %" in shown
    assert "door &lt;1&gt;</h1>" in shown and "<path" in shown
