"""Pages read back: what is in them, and whether their tags balance."""

import base64
import html.parser
import re
import shutil
import subprocess

import cv2
import numpy as np
import pytest

_VOID = {"meta", "img", "br", "link", "input", "hr"}


def decoded(uri):
    """The picture of a data URI, BGR or BGRA."""
    return cv2.imdecode(np.frombuffer(base64.b64decode(uri.partition(",")[2]), np.uint8), cv2.IMREAD_UNCHANGED)


def dumped(url, width, folder):
    """What headless Chromium makes of a page, at this width: its elements as text, after its scripts."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium on this machine")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--virtual-time-budget=2000"]
    command += [f"--window-size={width},900", f"--user-data-dir={folder / 'profile'}", url]
    return subprocess.run(command, capture_output=True, check=True, timeout=60, text=True).stdout


class Page(html.parser.HTMLParser):
    """Parses a page; raises AssertionError where a tag is not closed in its turn.

    Attributes:
        tags: (name, attributes) of each, in order.
        source: the page.
        text: what a reader sees, and the style sheet.
    """

    def __init__(self, text):
        super().__init__()
        self.source, self.tags, self.text, self._open = text, [], "", []
        self.feed(text)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open and self._open.pop() == tag, f"</{tag}> out of turn"

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        """The attributes of every `tag`."""
        return [attributes for name, attributes in self.tags if name == tag]

    def pictures(self):
        """The decoded images, and a check that each is said in words."""
        assert all(image["alt"] for image in self.all("img"))
        return [decoded(image["src"]) for image in self.all("img")]

    def strips(self):
        """Those of them that are rows of pictures of what the network saw."""
        webp = [decoded(image["src"]) for image in self.all("img") if image["src"].startswith("data:image/webp")]
        return [picture for picture in webp if picture.shape[1] > 2 * picture.shape[0]]

    def needs(self):
        """Addresses outside of the page that it names as sources."""
        sources = [attributes[name] for _, attributes in self.tags for name in ("src", "href") if name in attributes]
        in_style = re.findall(r"url\(([^)]*)\)|@import ([^;]*)", self.text)
        return [source for source in sources if not source.startswith(("data:", "#"))] + in_style
