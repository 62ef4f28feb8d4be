"""What is seen and answered now, in a browser on this machine, by Werkzeug."""

import collections
import json
import pathlib
import socket
import threading
from collections.abc import Sequence

import cv2
import numpy as np

from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.pages import page_template
from ccsn_tf.streaming.sliding_window import Answer
from ccsn_tf.streaming.source import Frame

_TEMPLATE = pathlib.Path(__file__).with_name("live_page.html")
_KEPT = 1200  # windows that a page which is opened late gets to see
_LOOPBACK = ("127.0.0.1", "localhost")


class LivePage:
    """Serves a page with the last picture, the last answer and the curves of the windows before, until it is closed.

    Args:
        address: a port of the loopback address, or "host:port"; port 0 is any that is free.
        name: of the source.

    Attributes:
        url: where the page is.

    Raises:
        UserError: no such address, or the port is taken; Werkzeug is not there.
    """

    def __init__(self, address: str, name: str):
        try:
            from werkzeug.serving import WSGIRequestHandler, make_server
        except ModuleNotFoundError:
            raise UserError("`serve` needs Werkzeug: pip install 'ccsn_tf[live]'.") from None
        host, _, port = address.rpartition(":")
        if not port.isdecimal() or int(port) > 65535:
            raise UserError(f"`serve`={address}: name a port, as in 8080, or both, as in 0.0.0.0:8080.")
        self._page = page_template(_TEMPLATE).render()
        self._name, self._image, self._windows = name, None, collections.deque(maxlen=_KEPT)
        self._count, self._lock = 0, threading.Lock()
        # Pages of other sites must not read this one by a name of theirs that leads here.
        self._hosts = _LOOPBACK if not host or host in _LOOPBACK else None
        try:
            opened = socket.create_server((host or _LOOPBACK[0], int(port)))
        except OSError as error:
            raise UserError(f"`serve`={address} cannot be opened ({error.strerror}): name another port.") from None
        with opened:
            self._server = make_server(
                host or _LOOPBACK[0],
                int(port),
                self._answer,
                threaded=True,
                request_handler=type("Quiet", (WSGIRequestHandler,), {"log": lambda *line: None}),
                fd=opened.fileno(),
            )
        self.url = f"http://{host or 'localhost'}:{self._server.port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def see(self, frame: Frame) -> None:
        """Takes the next frame of the source; it becomes a JPEG when a browser asks for it."""
        self._image = frame.image

    def add(self, answer: Answer, top: Sequence[tuple[str, float]]) -> None:
        """Takes the next answer and its best classes, [(class, score)]; none where it is about no class."""
        window = {"start": answer.start, "end": answer.end, "top": [[name, round(score, 4)] for name, score in top]}
        with self._lock:
            self._windows.append(window)
            self._count += 1

    def close(self) -> None:
        """Stops serving; pages that are open say that the source has ended."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, environ, start_response):
        from werkzeug.exceptions import HTTPException, NotFound
        from werkzeug.wrappers import Request, Response

        request = Request(environ)
        request.trusted_hosts = self._hosts and list(self._hosts)
        try:
            request.host  # noqa: B018  # refuses the names of others
            if request.path == "/":
                response = Response(self._page, mimetype="text/html")
            elif request.path == "/windows":
                response = Response(self._since(request.args.get("after", 0, int)), mimetype="application/json")
            elif request.path == "/picture" and self._image is not None:
                response = Response(_jpeg(self._image), mimetype="image/jpeg")
            else:
                raise NotFound("there is nothing of that name")
        except HTTPException as error:
            response = error
        else:
            response.headers |= {"Cache-Control": "no-store", "Content-Security-Policy": "frame-ancestors 'none'"}
        return response(environ, start_response)

    def _since(self, after):
        """JSON of the windows that came after so many."""
        with self._lock:
            new = min(max(self._count - after, 0), len(self._windows))
            windows = list(self._windows)[len(self._windows) - new :]
            return json.dumps({"name": self._name, "count": self._count, "windows": windows})


def _jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
