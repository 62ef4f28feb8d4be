"""Pages read back: what is in them, whether their tags balance, and how a browser shows them."""

import base64
import html
import html.parser
import pathlib
import re
import shutil
import subprocess

import cv2
import numpy as np
import pytest

_VOID = {"meta", "img", "br", "link", "input", "hr"}
_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]


class Page(html.parser.HTMLParser):
    """Parses a page; raises AssertionError where a tag is not closed in its turn.

    Attributes:
        tags: (name, attributes) of each, in order.
        text: what a reader sees, and the style sheet.
    """

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self._open = [], "", []
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
        """The decoded images, BGR or BGRA, and a check that each is said in words."""
        found = []
        for image in self.all("img"):
            assert image["alt"]
            content = image["src"].partition(";base64,")[2]
            pixels = cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_UNCHANGED)
            assert pixels is not None
            found.append(pixels)
        return found

    def needs(self):
        """Addresses outside of the page that it names as sources."""
        sources = [attributes[name] for _, attributes in self.tags for name in ("src", "href") if name in attributes]
        in_style = re.findall(r"url\(([^)]*)\)|@import ([^;]*)", self.text)
        return [source for source in sources if not source.startswith(("data:", "#"))] + in_style


def browser():
    """Chromium, or a skip."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine")
    return path


def screenshot(page: pathlib.Path, folder: pathlib.Path, width: int, height: int, *options: str) -> np.ndarray:
    """The top of a page as Chromium shows it, uint8 (height, width, 3), BGR."""
    picture = folder / "shown.png"
    _chromium(page, folder, f"--window-size={width},{height}", f"--screenshot={picture}", *options)
    return cv2.imread(str(picture))


def inner_width(text: str, folder: pathlib.Path, width: int) -> int:
    """The pixels that a page takes in a frame of `width`, such as a phone's: more where it has to be scrolled."""
    frame = folder / "frame.html"
    measure = "document.title = this.contentDocument.documentElement.scrollWidth"
    frame.write_text(
        f'<title></title><iframe style="border:0;width:{width}px" onload="{measure}" srcdoc="{html.escape(text)}">',
        encoding="utf-8",
    )
    shown = _chromium(frame, folder, "--dump-dom")
    return int(re.search(r"<title>(\d+)</title>", shown)[1])


def _chromium(page, folder, *options):
    command = [browser(), *_FLAGS, f"--user-data-dir={folder / 'profile'}", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, check=True, timeout=60, text=True).stdout
