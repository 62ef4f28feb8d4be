"""Streams for tests: a model that is no network, and sources that behave as they are told."""

import contextlib
import http.server
import threading
import time

import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.streaming.source import Frame

CLASSES = ("dark", "bright")


class BrightnessModel:
    """A `StreamModel` whose classes are dark and bright: the score of the second is the mean of all pixels / 255.

    Attributes:
        passes: the number of snippets of each call.
    """

    classes, attention = CLASSES, None

    def __init__(self, length=2, segments=4, seconds=0.0):
        self.config = Config().replace(
            flow="none", flow_source="graph", flow_length=length, image_size=16, test_segments=segments
        )
        self._seconds, self.passes = seconds, []

    def snippet(self, inputs):
        (frames,) = inputs.values()
        self.passes.append(len(frames))
        time.sleep(self._seconds)
        mean = frames.reshape(len(frames), -1).mean(axis=1, keepdims=True, dtype="float32") / 255
        return {"spatial": mean, "temporal": mean}

    def answer(self, features):
        score = features["spatial"].mean(axis=1)[:, 0]
        return {"scores": np.stack([1 - score, score], axis=1)}


def grey_frames(levels, height=20, width=24):
    """One frame a level, uint8 (N, H, W, 3)."""
    return np.broadcast_to(np.array(levels, np.uint8)[:, None, None, None], (len(levels), height, width, 3))


class LiveFrames:
    """A live source of these frames, which come in real time.

    Args:
        frames: uint8 (N, H, W, 3).
        rate: frames a second.
    """

    name, live, seconds, late, damaged, reconnections = "frames", True, None, 0, 0, 0

    def __init__(self, frames, rate=25):
        self._frames, self._rate = frames, rate

    def frames(self, short_side, stopped, say):
        begun = time.monotonic()
        for number, frame in enumerate(self._frames):
            while time.monotonic() < begun + number / self._rate:
                time.sleep(0.001)
            yield Frame(number / self._rate, frame, time.monotonic())


@contextlib.contextmanager
def broadcast(*parts, length=None, silence=0.0):
    """Yields the address of a local HTTP server that sends the first part to who asks first, and so on, then nothing.

    Args:
        parts: bytes.
        length: what it announces; None: nothing, as live streams do.
        silence: seconds after the first part before its connection is closed.
    """
    left, over = list(parts), threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            if not left:
                self.send_error(503)
                return
            self.send_response(200)
            self.send_header("Connection", "close")
            if length:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            first = len(left) == len(parts)
            self.wfile.write(left.pop(0))
            self.wfile.flush()
            over.wait(silence if first else 0.0)
            self.close_connection = True

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/live"
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()
