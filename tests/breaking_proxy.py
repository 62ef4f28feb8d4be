"""A TCP proxy on loopback whose connections can be broken as a network breaks them: by a reset, in the middle."""

import contextlib
import select
import socket
import struct
import threading
import time


class BreakingProxy:
    """Forwards connections to a port of this machine; `port` is its own."""

    def __init__(self, target):
        self._target, self._open, self._lock, self._held = target, set(), threading.Lock(), 0.0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def reset(self):
        """Breaks every connection that there is; returns how many."""
        with self._lock:
            pairs, self._open = self._open, set()
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    # With this option closing sends a reset, in place of an orderly end.
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.close()
        return len(pairs)

    def hold(self, seconds):
        """Forwards nothing for so long."""
        self._held = time.monotonic() + seconds

    def close(self):
        """Takes no more connections and breaks the others."""
        self._listener.close()
        self.reset()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    pair = near, socket.create_connection(("127.0.0.1", self._target))
                except OSError:  # nobody listens there now
                    near.close()
                    continue
                with self._lock:
                    self._open.add(pair)
                threading.Thread(target=self._forward, args=(pair,), daemon=True).start()

    def _forward(self, pair):
        other, ended = dict(zip(pair, pair[::-1], strict=True)), set()
        with contextlib.suppress(OSError, ValueError):  # ValueError: closed while it was looked at
            while len(ended) < 2:
                # Not a blocking read, which would keep the socket open in spite of `reset`.
                for source in select.select([end for end in pair if end not in ended], [], [], 0.02)[0]:
                    time.sleep(max(0.0, self._held - time.monotonic()))
                    data = source.recv(2**16)
                    if data:
                        other[source].sendall(data)
                    else:
                        other[source].shutdown(socket.SHUT_WR)
                        ended.add(source)
        with self._lock:
            self._open.discard(pair)
        for end in pair:
            end.close()
