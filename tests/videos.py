"""Small real video files for tests, good and bad."""

import pathlib
from fractions import Fraction

import av
import cv2
import numpy as np

from ccsn_tf.data.flow import make_estimator
from ccsn_tf.data.prepare.encode import encode_clip
from ccsn_tf.data.records.record import FIELDS, FRAMES
from ccsn_tf.data.views import InputForm

FPS = 25
HEIGHT, WIDTH, NUM_FRAMES = 36, 48, 14

_CODECS = {
    ".avi": ("mpeg4", {"qmin": "2", "qmax": "2"}),
    ".mp4": ("libx264", {"crf": "8"}),
    ".webm": ("libvpx", {"b": "2000000"}),
}


def read_snippets(path, config, num_segments):
    """Frames (K, H, W, 3) and quantised flow (K, L, 2, H, W) of evenly spaced snippets."""
    snippets = InputForm(config.model).of_video(path, config, num_segments)
    return np.stack(snippets["rgb"]), np.array(snippets["flow"])


def encoded(path, config, min_fields=5, beat=lambda: None):
    """The JPEGs that a record of the video would hold: of its frames, of its fields."""
    found = {FRAMES: [], FIELDS: []}
    for kind, jpeg in encode_clip(str(path), make_estimator(config), config, min_fields, beat):
        found[kind].append(jpeg)
    return found[FRAMES], found[FIELDS]


def moving(num_frames=NUM_FRAMES, step=(2, 0), height=HEIGHT, width=WIDTH, seed=0, still=0):
    """A random texture that moves by `step` = (x, y) pixels a frame after `still` frames, uint8 (N, H, W, 3)."""
    rng = np.random.default_rng(seed)
    reach = max(map(abs, step)) * num_frames
    noise = cv2.GaussianBlur(rng.random((height + 2 * reach, width + 2 * reach, 3)), (0, 0), 1.5)
    noise = (noise - noise.min()) / (noise.max() - noise.min())
    texture = np.rint(255 * noise).astype(np.uint8)
    frames = []
    for index in range(num_frames):
        moved = max(0, index - still)
        top, left = reach - moved * step[1], reach - moved * step[0]
        frames.append(texture[top : top + height, left : left + width])
    return np.stack(frames)


def write_video(
    path,
    frames=None,
    codec=None,
    options=None,
    times=None,
    advance=0,
    pix_fmt="yuv420p",
    aspect=None,
    display=None,
    colour=None,
    format=None,
):
    """Writes RGB frames, uint8 or uint16, with the codec that goes with the suffix (mpeg4 in AVI, H.264 in MP4).

    The same frames give the same bytes.

    Args:
        times: position of each frame on the time axis, in frames; default: no gaps.
        advance: frames that an edit list hides at the start (MP4).
        pix_fmt: FFmpeg's name of the pixel format that is stored.
        aspect: width:height of a pixel, a Fraction.
        display: (degrees, mirror_x, mirror_y): turned counter-clockwise, then mirrored, to be shown (MP4, MOV, MKV).
        colour: FFmpeg's numbers of (colour space, range) to convert to and to note in the file, and perhaps of the
            (transfer, primaries) of the frames, to note.
        format: container, if it is not the suffix's.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = moving() if frames is None else frames
    name, settings = _CODECS.get(path.suffix, ("mpeg4", {}))
    muxing = {"fflags": "+bitexact"} | ({"avoid_negative_ts": "disabled"} if advance else {})
    with av.open(str(path), "w", format=format, options=muxing) as container:
        stream = container.add_stream(codec or name, rate=FPS, options={**settings, **(options or {})})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.thread_count = 1  # slices, hence bytes, depend on it
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if display:
            stream.set_display_rotation(*display)
        if colour:
            stream.codec_context.colorspace, stream.codec_context.color_range, *of_light = colour
            if of_light:
                stream.codec_context.color_trc, stream.codec_context.color_primaries = of_light
        packets = []
        for index, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, "rgb24" if frame.dtype == np.uint8 else "rgb48le")
            if colour:
                picture = picture.reformat(format=pix_fmt, dst_colorspace=colour[0], dst_color_range=colour[1])
            picture.pts, picture.time_base = times[index] if times else index, Fraction(1, FPS)
            packets += stream.encode(picture)
        for packet in packets + stream.encode():
            if advance:
                packet.pts -= int(advance / FPS / packet.time_base)
                packet.dts -= int(advance / FPS / packet.time_base)
            container.mux(packet)
    return path


def write_audio(path):
    """Half a second of silence, and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac" if path.suffix == ".mp4" else "mp2", rate=16000, layout="mono")
        add_silence(container, stream)
    return path


def add_silence(container, stream):
    """Writes half a second of silence to a mono stream of an open container."""
    for start in range(0, 8000, 1000):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1000), np.int16), format="s16", layout="mono")
        frame.rate, frame.pts = 16000, start
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def truncate(path, share):
    """Cuts a file, keeping its first `share`."""
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


def write_tree(root, classes, num_clips, make_frames):
    """A data set laid out as UCF101, a clip a group; groups 1 and 2 test in split 1, groups 3 and 4 in split 2.

    Args:
        root: receives `videos/` and `lists/`.
        classes: class names.
        num_clips: clips of each class, more than 4.
        make_frames: called with (class number from 0, group number from 1).
    """
    lists = root / "lists"
    lists.mkdir(parents=True)
    clips = [
        (label, group, f"{name}/v_{name}_g{group:02d}_c01.avi")
        for label, name in enumerate(classes)
        for group in range(1, num_clips + 1)
    ]
    for label, group, relative in clips:
        write_video(root / "videos" / relative, make_frames(label, group))
    (lists / "classInd.txt").write_text("".join(f"{label} {name}\n" for label, name in enumerate(classes, 1)))
    for split, groups in {1: (1, 2), 2: (3, 4)}.items():
        train = [f"{relative} {label + 1}\n" for label, group, relative in clips if group not in groups]
        test = [f"{relative}\n" for label, group, relative in clips if group in groups]
        (lists / f"trainlist{split:02d}.txt").write_text("".join(train))
        (lists / f"testlist{split:02d}.txt").write_text("".join(test))
    return root
