"""A copy of a watched file, with what was found in the picture."""

import fractions
import pathlib
from collections.abc import Callable, Sequence

import av
import numpy as np

from ccsn_tf.data.video import iter_timed
from ccsn_tf.errors import UserError
from ccsn_tf.files import whole_file
from ccsn_tf.streaming.source import FileSource
from ccsn_tf.streaming.timeline import Segment

_SHORT_SIDE = 720  # larger pictures are scaled down
_TICKS = 1000  # a second: every frame keeps its time
_DARK, _LIGHT, _COLOUR = (0, 0, 0), (255, 255, 255), (86, 180, 233)


def write_video(
    path: str | pathlib.Path,
    source: FileSource,
    segments: Sequence[Segment],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Writes an MP4 file (H.264, no sound) of the source's pictures, at their times, short side at most 720 pixels.

    Below each picture is the class of the segments that it lies in, and a bar of all segments with the present time.

    Args:
        path: of the file, which is there whole or not at all.
        segments: in order.
        progress: called with (seconds done, seconds in all).

    Raises:
        UserError: it cannot be written; VideoError: see `iter_timed`.
    """
    end = max([source.seconds or 0.0, *(each.end for each in segments)])
    last, stream, caption = -1, None, None
    with whole_file(path) as beside, av.open(str(beside), "w", format="mp4") as container:
        for time, image in iter_timed(source.path, _SHORT_SIDE):
            if stream is None:
                caption = _Caption(image.shape[1], segments, end)
                stream = container.add_stream("libx264", rate=30, options={"crf": "23", "preset": "veryfast"})
                stream.width, stream.height = _even(image.shape[1]), _even(image.shape[0] + caption.height)
                stream.pix_fmt = "yuv420p"
                stream.codec_context.time_base = fractions.Fraction(1, _TICKS)
            picture = np.zeros((stream.height, stream.width, 3), np.uint8)
            rows = np.concatenate([image, caption.draw(time)])
            picture[: len(rows)] = rows[: stream.height, : stream.width]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            last = max(last + 1, round(time * _TICKS))
            frame.pts, frame.time_base = last, stream.codec_context.time_base
            container.mux(stream.encode(frame))
            progress(min(round(time), round(end)), round(end))
        container.mux(stream.encode(None))


def _even(number):
    return number - number % 2


class _Caption:
    """What stands below the picture: a line of text, and a bar of all segments."""

    def __init__(self, width, segments, end):
        try:
            import matplotlib
            from PIL import ImageFont
        except ModuleNotFoundError:
            raise UserError("`video` needs matplotlib's fonts: pip install 'ccsn_tf[figures]'.") from None
        self._size = max(12, width // 24)
        font = pathlib.Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")
        self._font = ImageFont.truetype(str(font), self._size)
        self._width, self._segments, self._end = width, segments, end or 1.0
        self._bar = max(4, self._size // 3)
        self.height = 2 * self._size + self._bar
        self._drawn, self._rows = None, None

    def draw(self, time):
        """uint8 (height, width, 3)."""
        from PIL import Image, ImageDraw

        now = [each for each in self._segments if each.start <= time < each.end]
        if self._drawn != now:  # the same text for seconds
            image = Image.new("RGB", (self._width, self.height), _DARK)
            pen = ImageDraw.Draw(image)
            text = "   ".join(f"{each.label} {100 * each.score:.0f} %" for each in now)
            pen.text((self._size // 2, self._size // 3), text, _LIGHT, self._font)
            for each in self._segments:
                pen.rectangle(
                    (self._x(each.start), self.height - self._bar, self._x(each.end), self.height), fill=_COLOUR
                )
            self._drawn, self._rows = now, np.asarray(image)
        rows = self._rows.copy()
        x = min(self._x(time), self._width - 2)
        rows[-self._bar :, x : x + 2] = _LIGHT
        return rows

    def _x(self, seconds):
        return round(self._width * seconds / self._end)
