"""Sound videos of every kind that this FFmpeg can write, and files that are no videos: the seeds of the fuzz."""

import dataclasses
import itertools
import struct
import zlib
from fractions import Fraction

import av
import numpy as np
from videos import FPS, add_silence, moving, truncate, write_audio, write_video


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A sound video: its file's suffix, size and length, and the arguments of `write_video`."""

    suffix: str
    codec: str
    pix_fmt: str = "yuv420p"
    width: int = 48
    height: int = 36
    num_frames: int = 10
    options: tuple = ()
    shape: dict = dataclasses.field(default_factory=dict)

    @property
    def for_opencv(self):
        """Whether OpenCV, an independent reader, shows it right: it mirrors nothing, and weaves fields."""
        return not any(self.shape.get("display", ())[1:]) and "interlaced=1" not in dict(self.options).values()

    def write(self, path):
        """Writes the video."""
        settings = {"strict": "experimental", **dict(self.options)}
        if self.codec == "libx265":
            settings["x265-params"] = "log-level=none"
        frames = moving(self.num_frames, height=self.height, width=self.width)
        return write_video(path, frames, self.codec, settings, pix_fmt=self.pix_fmt, **self.shape)


def recipes():
    """Every recipe, in an order in which neighbours differ."""
    formats = [
        # x265 4.2 crashes where it encodes 10 bits at 48x36.
        Recipe(suffix, codec, pix_fmt, *((64, 64) if codec == "libx265" else (48, 36)))
        for suffix, codec, pix_fmts in _FORMATS
        for pix_fmt in pix_fmts.split()
    ]
    uneven = {"times": (0, 1, 2, 6, 7, 11, 30, 31, 40, 90)}
    plain = ((".mp4", "libx264"), (".avi", "mpeg4"), (".webm", "libvpx"))
    sized = ((".avi", "ffv1", "bgra"), (".mkv", "libvpx-vp9", "yuv420p"), (".mp4", "libx264", "yuv444p"))
    odd = [
        *(Recipe(*kind, width, height) for kind in sized for width, height in _ODD_SIZES),
        *(Recipe(".mp4", "libx264", width=64, height=32, shape={"display": display}) for display in _DISPLAYS),
        *(Recipe(".mkv", "mpeg4", width=64, height=32, shape={"display": display}) for display in _DISPLAYS[:3]),
        *(Recipe(".mp4", "libx264", shape={"aspect": Fraction(*aspect)}) for aspect in _ASPECTS),
        Recipe(".mpg", "mpeg2video", width=64, height=48, shape={"aspect": Fraction(4, 3)}),
        Recipe(".mov", "qtrle", "rgb24", shape={"aspect": Fraction(64, 45), "display": (90, False, False)}),
        *(Recipe(*kind, shape=uneven) for kind in plain),
        *(Recipe(*kind, num_frames=1) for kind in plain),
        Recipe(".mp4", "libx264", options=(("x264-params", "interlaced=1"),), height=64),
        Recipe(".mp4", "libx264", options=(("bf", "3"), ("g", "5")), num_frames=30),
        Recipe(".avi", "mpeg4", options=(("bf", "2"), ("g", "12")), num_frames=30),
        Recipe(".mp4", "libx264", options=(("movflags", "faststart"),)),
        Recipe(".mp4", "libx264", options=(("movflags", "frag_keyframe"),)),
        *(Recipe(".mp4", codec, shape={"format": format}) for codec, format in _OTHER_CONTAINERS),
    ]
    both = itertools.zip_longest(formats, odd)
    return [recipe for pair in both for recipe in pair if recipe]


_FORMATS = (
    (".avi", "mpeg4", "yuv420p"),
    (".avi", "mjpeg", "yuvj420p yuvj444p"),
    (".avi", "ffv1", "yuv420p gray gray16le yuv422p10le bgra yuv444p16le yuv410p gbrp10le yuva420p"),
    (".avi", "huffyuv", "rgb24 yuv422p"),
    (".avi", "rawvideo", "bgr24 yuyv422 gray rgb555le"),
    (".avi", "msmpeg4v2", "yuv420p"),
    (".avi", "msvideo1", "rgb555le"),
    (".avi", "libx264", "yuv420p"),
    (".avi", "cinepak", "rgb24"),
    (".avi", "utvideo", "gbrap"),
    (".avi", "png", "rgba monob"),
    (".avi", "svq1", "yuv410p"),
    (".avi", "snow", "yuv420p"),
    (".mp4", "libx264", "yuv420p yuv422p yuv444p yuv420p10le gray gray10le"),
    (".mp4", "libx265", "yuv420p yuv420p10le gray"),
    (".mp4", "mpeg4", "yuv420p"),
    (".mp4", "libvpx-vp9", "yuv420p"),
    (".mp4", "mpeg2video", "yuv420p"),
    (".mp4", "libx264rgb", "rgb24"),
    (".mov", "prores_ks", "yuv422p10le yuva444p10le"),
    (".mov", "qtrle", "argb gray"),
    (".mov", "rpza", "rgb555le"),
    (".mov", "cfhd", "gbrp12le"),
    (".mkv", "ffv1", "gray12le"),
    (".mkv", "libvpx", "yuv420p"),
    (".mkv", "libvpx-vp9", "yuv444p gbrp yuva420p"),
    (".mkv", "mpeg2video", "yuv420p"),
    (".mkv", "rawvideo", "yuv420p"),
    (".mkv", "jpeg2000", "rgb24 gray16le"),
    (".webm", "libvpx", "yuv420p"),
    (".webm", "libvpx-vp9", "yuv420p"),
    (".mpg", "mpeg1video", "yuv420p"),
    (".mpg", "mpeg2video", "yuv420p"),
    (".mpeg", "mpeg2video", "yuv422p"),
    (".flv", "flv", "yuv420p"),
    (".flv", "libx264", "yuv420p"),
    (".flv", "flashsv", "bgr24"),
    (".wmv", "wmv1", "yuv420p"),
    (".wmv", "wmv2", "yuv420p"),
    (".m4v", "libx264", "yuv420p"),
)
_ODD_SIZES = ((1, 1), (2, 2), (3, 50), (17, 90), (49, 37), (4096, 16), (16, 2048), (1000, 3))
_DISPLAYS = (
    *((degrees, False, False) for degrees in (90, 180, 270)),
    *((degrees, True, False) for degrees in (90, 180, 270, 0)),
    (0, False, True),
)
_ASPECTS = ((16, 15), (64, 45), (10, 11), (1, 2), (4096, 4083), (200, 1))
# The suffix says MP4, the content something else.
_OTHER_CONTAINERS = (
    ("mpeg2video", "mpegts"),
    ("libx264", "h264"),
    ("libvpx", "ogg"),
    ("libvpx", "ivf"),
    ("rawvideo", "nut"),
    ("mpeg4", "avi"),
)


def two_streams(path):
    """Two videos in one file, of different size and length; the larger comes second."""
    with av.open(str(path), "w") as container:
        both = [moving(8), moving(10, height=72, width=96)]
        streams = [container.add_stream("libx264", rate=FPS) for _ in both]
        for stream, frames in zip(streams, both, strict=True):
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = "yuv420p"
        for stream, frames in zip(streams, both, strict=True):
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
            container.mux(stream.encode())
    return path


def cover_picture(path):
    """A sound file (MP4) with a picture for its cover."""
    with av.open(str(path), "w") as container:
        sound, cover = container.add_stream("aac", rate=16000, layout="mono"), container.add_stream("mjpeg", rate=FPS)
        cover.height, cover.width, cover.pix_fmt = 36, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(moving(1)[0], "rgb24")))
        add_silence(container, sound)
    return path


def changing_size(path, sizes=((48, 36), (64, 36))):
    """H.264 without a container, whose frames change their size after the fifth."""
    parts = []
    for width, height in sizes:
        write_video(path, moving(5, width=width, height=height), "libx264", format="h264")
        parts.append(path.read_bytes())
    path.write_bytes(b"".join(parts))
    return path


def lying(path, *lies, **video):
    """A video whose headers hold other numbers: each lie is (a mark, bytes from there, layout, numbers)."""
    content = bytearray(write_video(path, moving(10), **video).read_bytes())
    for mark, offset, layout, *numbers in lies:
        struct.pack_into(layout, content, content.rindex(mark) + offset, *numbers)
    path.write_bytes(content)
    return path


def announced_size(path, side=65_535):
    """An MP4 (H.264) whose container announces frames of this size."""
    shown = b"tkhd", 80, ">II", side << 16, side << 16
    return lying(path, (b"avc1", 28, ">HH", side, side), shown, codec="libx264", format="mp4")


def picture_of_size(path, side=16_000):
    """An AVI of PNG pictures that say they are of this size, in headers that are right in all else."""
    content = bytearray(write_video(path, moving(8), "png", pix_fmt="rgb24", format="avi").read_bytes())
    start = content.find(b"IHDR")
    while start >= 0:
        struct.pack_into(">II", content, start + 4, side, side)
        struct.pack_into(">I", content, start + 17, zlib.crc32(content[start : start + 17]))
        start = content.find(b"IHDR", start + 1)
    path.write_bytes(content)
    return path


def _written(content):
    def write(path):
        path.write_bytes(content)
        return path

    return write


# What is no usable video, by name; each is called with the path to write to.
HOPELESS = {
    "empty.avi": _written(b""),
    "one-byte.mkv": _written(b"R"),
    "text.mp4": _written(b"This is not the video that you are looking for.\n" * 30),
    "noise.avi": _written(np.random.default_rng(0).bytes(4000)),
    "noise.mpg": _written(np.random.default_rng(1).bytes(200_000)),
    "page.webm": _written(b"<!DOCTYPE html><html><body>403 Forbidden</body></html>\n"),
    "playlist.mp4": _written(
        b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"
    ),
    "script.avi": _written(b"ffconcat version 1.0\nfile /dev/zero\nfile /etc/passwd\n"),
    "session.mp4": _written(
        b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 5004 RTP/AVP 96\r\n"
    ),
    "subtitles.mkv": _written(b"1\n00:00:01,000 --> 00:00:02,000\nHello\n\n" * 50),
    "riff.avi": _written(b"RIFF\xff\xff\xff\x7fAVI LIST\xff\xff\xff\x7fhdrl" + bytes(300)),
    "sound.mp4": write_audio,
    "sound.avi": write_audio,
    "cover.mp4": cover_picture,
    "frames-announced.avi": lambda path: lying(
        path, *((mark, offset, "<I", 10**9) for mark, offset in ((b"avih", 24), (b"strh", 40))), format="avi"
    ),
    "size-announced-raw.avi": lambda path: lying(
        path, (b"strf", 12, "<ii", 100_000, 100_000), codec="rawvideo", pix_fmt="bgr24"
    ),
    "picture-announced.avi": picture_of_size,
    "pixels-announced.mov": lambda path: lying(
        path, (b"pasp", 4, ">II", 30_000, 1), codec="qtrle", pix_fmt="rgb24", aspect=Fraction(2)
    ),
    "half.avi": lambda path: truncate(write_video(path, moving(40)), 0.5),
    "half.mp4": lambda path: truncate(write_video(path, moving(40)), 0.5),
}

# Sound ones that need more than a recipe: name -> (writer, frames that a player shows).
SPECIAL = {
    "two-streams.mp4": (two_streams, 8),
    "two-streams.mkv": (two_streams, 8),
    "turned.mp4": (lambda path: write_video(path, moving(10), display=(270, False, False)), 10),
    "edited.mp4": (lambda path: write_video(path, moving(20), options={"bf": "0"}, advance=7), 13),
    "wide-announced.mp4": (announced_size, 10),
    "changing.avi": (changing_size, 10),
}
