"""The tables of docs/DATASETS.md, "What is read": every kind of file is written, read and compared with its row.

`WRITE_TABLES=1 make test ARGS='-k what_is_read'` writes them anew.
"""

import collections
import os
import pathlib
import re

import numpy as np
import pytest
from odd_videos import HOPELESS, SPECIAL, Recipe, recipes
from videos import moving, write_video

from ccsn_tf.data.video import VideoError, iter_frames

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "DATASETS.md"
BEGIN, END = "<!-- tests/data/test_what_is_read.py -->\n", "<!-- end -->\n"

CONTAINERS = {  # of cameras and others, whose recipe is the codec alone
    ".MTS, .m2ts, .ts": [("mpeg2video", "mpegts"), ("libx264", "mpegts"), ("libx265", "mpegts")],
    ".3gp": [("mpeg4", "3gp")],
    ".gif": [("gif", "gif")],
    ".VOB, .dat": [("mpeg2video", "mpeg"), ("mpeg1video", "mpeg")],
    ".ogv": [("libvpx", "ogg")],
    ".mxf": [("mpeg2video", "mxf")],
}
DAMAGED = {
    "empty.avi": "empty",
    "one-byte.mkv": "one byte",
    "text.mp4": "text",
    "page.webm": "a web page",
    "subtitles.mkv": "subtitles",
    "noise.avi": "noise",
    "noise.mpg": "noise, 200 kB as MPG",
    "riff.avi": "an AVI's first bytes, then zeros",
    "playlist.mp4": "a playlist (HLS)",
    "script.avi": "a script of other files (ffconcat)",
    "session.mp4": "an address (SDP)",
    "sound.mp4": "sound alone, MP4",
    "sound.avi": "sound alone, AVI",
    "cover.mp4": "sound with a cover picture",
    "half.avi": "half of an AVI",
    "half.mp4": "half of an MP4, whose table is at its end",
    "frames-announced.avi": "an AVI that announces 1,000,000,000 frames and holds 10",
    "size-announced-raw.avi": "raw frames announced with 100,000 x 100,000 pixels",
    "picture-announced.avi": "PNG frames that announce 16,000 x 16,000 pixels",
    "pixels-announced.mov": "pixels announced 30,000 times as wide as high",
}


def outcome(path, written):
    """The frames read of those written, or the reason."""
    try:
        shapes = [frame.shape for frame in iter_frames(str(path), 10_000)]
    except VideoError as error:
        assert str(error).startswith(f"{path} ")
        return "skipped: " + str(error).removeprefix(f"{path} ")
    assert len(set(shapes)) == 1
    return f"{len(shapes)} of {written}"


def by_container(folder):
    """[(container, codecs, outcome)] of plain videos."""
    found, plain = collections.defaultdict(list), Recipe(".mp4", "libx264")
    for recipe in recipes():
        same_length = recipe.num_frames == 10 and not recipe.options and not recipe.shape
        if same_length and max(recipe.width, recipe.height) <= 64 and min(recipe.width, recipe.height) >= 36:
            found[recipe.suffix].append((recipe, f"{recipe.codec} ({recipe.pix_fmt})"))
    for suffixes, kinds in CONTAINERS.items():
        for codec, form in kinds:
            sizes = {"3gp": (176, 144), "mxf": (720, 576), "libx265": (64, 64)}  # x265 crashes on smaller ones
            width, height = sizes.get(form, sizes.get(codec, (plain.width, plain.height)))
            pix_fmt = "rgb8" if form == "gif" else "yuv420p"
            recipe = Recipe(f".{form}", codec, pix_fmt, width, height, shape={"format": form})
            found[suffixes].append((recipe, f"{codec} ({pix_fmt})"))
    rows = []
    for number, (container, kinds) in enumerate(found.items()):
        outcomes = collections.defaultdict(list)
        for place, (recipe, name) in enumerate(kinds):
            path = recipe.write(folder / f"{number}-{place}{recipe.suffix}")
            outcomes[outcome(path, recipe.num_frames)].append(name)
        rows += [(container, _codecs(names), result) for result, names in outcomes.items()]
    return rows


def _codecs(names):
    """mjpeg (yuvj420p), mjpeg (yuvj444p) -> mjpeg (yuvj420p, yuvj444p)"""
    formats = collections.defaultdict(list)
    for name in names:
        codec, form = name.rstrip(")").split(" (")
        formats[codec].append(form)
    return "; ".join(f"{codec} ({', '.join(dict.fromkeys(forms))})" for codec, forms in formats.items())


def odd_ones():
    """{property: [(name, writer, frames written)]}"""
    odd = collections.defaultdict(list)
    for recipe in recipes():
        options, shape = dict(recipe.options), recipe.shape
        sized = (recipe.width, recipe.height) not in ((48, 36), (64, 64), (64, 32), (64, 48), (48, 64))
        kinds = {
            "1x1, 2x2, 3x50, 17x90, 49x37, 1000x3, 4096x16, 16x2048 pixels": sized,
            "turned by 90, 180, 270 degrees, mirrored, upside down (MP4, MKV, MOV)": "display" in shape,
            "pixels not square, 1:2 to 200:1": "aspect" in shape and "display" not in shape,
            "variable frame rate, frames dropped (MP4, AVI, WebM)": "times" in shape,
            "one frame, which is too short for a snippet": recipe.num_frames == 1,
            "interlaced: the first field, filled up": "x264-params" in options,
            "B-frames; a key frame every 5, 12": "bf" in options,
            "MP4 with its table first; in fragments": "movflags" in options,
            "MPEG-TS, H.264 alone, Ogg, IVF, NUT, AVI, named .mp4": "format" in shape,
        }
        for kind in [kind for kind, applies in kinds.items() if applies][:1]:
            odd[kind].append((f"{recipe.codec}{recipe.suffix}", recipe.write, recipe.num_frames))
    for name, kind in {
        "two-streams.mp4": "two video streams (MP4, MKV): the one that FFmpeg takes for the best",
        "two-streams.mkv": "two video streams (MP4, MKV): the one that FFmpeg takes for the best",
        "edited.mp4": "an edit list that hides 7 of 20 frames",
        "wide-announced.mp4": "the container announces 65,535 x 65,535 pixels, the frames their own size",
        "changing.avi": "another size from the sixth frame on: scaled to the first one",
    }.items():
        write, frames = SPECIAL[name]
        odd[kind].append((name, write, 20 if name == "edited.mp4" else frames))
    for name, number in (("PQ", 16), ("HLG", 18)):
        frames = 257 * moving(10).astype(np.uint16)
        options = {"options": {"crf": "8"}, "pix_fmt": "yuv420p10le", "colour": (9, 1, number, 9)}
        odd["HDR of 10 bits, PQ and HLG: tone-mapped"].append(
            (f"{name}.mp4", lambda path, frames=frames, options=options: write_video(path, frames, **options), 10)
        )
    for name, kind in DAMAGED.items():
        odd[kind].append((name, HOPELESS[name], 40 if name.startswith("half") else 10))
    return odd


def tables(folder):
    """Both, as Markdown."""
    lines = ["| container | codecs (pixel formats), as FFmpeg names them | frames read |", "|---|---|---|"]
    lines += [f"| {container} | {codecs} | {result} |" for container, codecs, result in by_container(folder)]
    lines += ["", "| property | frames read, or the reason |", "|---|---|"]
    reasons = collections.defaultdict(list)
    for kind, files in odd_ones().items():
        place = folder / re.sub(r"\W+", "-", kind)[:40]
        place.mkdir()
        found = [outcome(write(place / f"{n}-{name}"), count) for n, (name, write, count) in enumerate(files)]
        result = "; ".join(dict.fromkeys(found))
        reasons[result if result.startswith("skipped") else kind].append((kind, result))
    lines += [f"| {'; '.join(kind for kind, _ in rows)} | {rows[0][1]} |" for rows in reasons.values()]
    return "\n".join(lines) + "\n"


@pytest.mark.timeout(300)
def test_what_is_read_is_what_the_tables_say(tmp_path):
    assert set(DAMAGED) == set(HOPELESS)
    found = tables(tmp_path)
    before, written, after = re.split(f"{BEGIN}|{END}", PAGE.read_text())
    if os.environ.get("WRITE_TABLES"):
        PAGE.write_text(before + BEGIN + found + END + after)
    else:
        assert found == written
