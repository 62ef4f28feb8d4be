"""An RTSP camera on this machine: H.264 in RTP, interleaved with the requests on one TCP connection."""

import contextlib
import re
import socketserver
import struct
import threading
import time
from fractions import Fraction

import av

_CLOCK, _FIRST = 90_000, 123_456  # ticks of RTP a second; FFmpeg takes a first stamp of 0 for none
_SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
_ANSWERS = {
    "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY\r\n\r\n",
    "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(_SDP)}\r\n\r\n{_SDP}",
    "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n\r\n",
}


class Camera(socketserver.ThreadingTCPServer):
    """Sends the frames to who asks, and then breaks off in a packet. A context manager; `address` is its own.

    Args:
        frames: uint8 RGB (N, H, W, 3).
        rate: frames a second, by their stamps.
        speed: seconds of the stream that it sends in one.
        port: 0 is any.
    """

    allow_reuse_address = daemon_threads = True

    def __init__(self, frames, rate=25, speed=4, port=0):
        super().__init__(("127.0.0.1", port), _Connection)
        self.units, self.rate, self.speed = _units(frames), rate, speed
        self.address = f"rtsp://127.0.0.1:{self.server_address[1]}/door"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class _Connection(socketserver.StreamRequestHandler):
    def handle(self):
        while line := self.rfile.readline().decode():
            headers = "\n".join(iter(lambda: self.rfile.readline().decode().strip(), ""))
            method, number = line.split()[0], re.search(r"CSeq: (\d+)", headers)[1]
            answer = _ANSWERS.get(method, "Session: 1\r\n\r\n")
            self.wfile.write(f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{answer}".encode())
            if method == "PLAY":
                with contextlib.suppress(OSError):  # who asked has left
                    self._play()
                return

    def _play(self):
        begun, sent = time.monotonic(), 0
        for number, units in enumerate(self.server.units):
            time.sleep(max(0.0, begun + number / self.server.rate / self.server.speed - time.monotonic()))
            for unit in units:
                last = 128 if unit is units[-1] else 0  # of the frame
                stamp = _FIRST + number * _CLOCK // self.server.rate
                packet = struct.pack(">BBHII", 128, 96 | last, sent, stamp, 7) + unit
                self.wfile.write(b"$" + struct.pack(">BH", 0, len(packet)) + packet)
                sent += 1
        self.wfile.write(b"$\0\xff\xff")  # of a packet that never comes


def _units(frames):
    """The NAL units of each frame; each tenth frame stands for itself."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = frames[0].shape[:2]
    encoder.pix_fmt, encoder.time_base, encoder.thread_count = "yuv420p", Fraction(1, 25), 1
    encoder.options = {"g": "10", "tune": "zerolatency"}
    packets = [packet for frame in frames for packet in encoder.encode(av.VideoFrame.from_ndarray(frame, "rgb24"))]
    return [[unit for unit in re.split(b"\0\0\0?\1", bytes(packet)) if unit] for packet in packets]
