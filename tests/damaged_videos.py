"""A reproducible fuzz: a folder of sound, odd, damaged and hopeless videos, laid out as a data set of two classes."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
from odd_videos import HOPELESS, SPECIAL, recipes

from ccsn_tf.data.datasets.videos import VIDEO_SUFFIXES

CLASSES = ("first", "second")


@dataclasses.dataclass(frozen=True)
class Case:
    """One file of the fuzz.

    `kind` says what was done to it, `frames` how many a sound one has (else None), `for_opencv` that OpenCV shows it.
    """

    path: pathlib.Path
    kind: str
    frames: int | None = None
    for_opencv: bool = False

    @property
    def name(self):
        """Its name in a folder data set."""
        return f"{self.path.parent.name}/{self.path.stem}"


def write_fuzz(folder: pathlib.Path, count: int, seed: int = 0, originals: Sequence[pathlib.Path] = ()) -> list[Case]:
    """Writes `count` videos: at most a third sound, an eighth hopeless, the rest damaged copies of the sound ones.

    Args:
        folder: receives first/ and second/.
        count: how many.
        seed: of the damage; the same arguments give the same bytes.
        originals: other sound videos to damage, too.
    """
    rng = np.random.default_rng(seed)
    every = recipes()
    chosen = every[:: max(1, -(-len(every) * 3 // count))]
    hopeless = list(HOPELESS.items())[:: max(1, -(-len(HOPELESS) * 8 // count))]
    cases = []

    def place(name):
        path = folder / CLASSES[len(cases) % 2] / f"{len(cases):04d}_{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    for recipe in chosen:
        path = recipe.write(place(f"{recipe.codec}-{recipe.pix_fmt}{recipe.suffix}"))
        cases.append(Case(path, "sound", recipe.num_frames, recipe.for_opencv))
    for name, (write, frames) in SPECIAL.items():
        cases.append(Case(write(place(name)), "sound", frames))
    sources = [case.path for case in cases] + list(originals)
    for name, write in hopeless:
        cases.append(Case(write(place(name)), f"hopeless: {name}"))
    while len(cases) < count:
        kind, damage = list(DAMAGES.items())[len(cases) % len(DAMAGES)]
        source, other = (sources[index] for index in rng.integers(len(sources), size=2))
        suffix = source.suffix
        if kind == "renamed":
            suffix = sorted(VIDEO_SUFFIXES - {suffix})[rng.integers(len(VIDEO_SUFFIXES) - 1)]
        path = place(f"{kind.replace(' ', '-')}{suffix}")
        path.write_bytes(damage(source.read_bytes(), other.read_bytes(), rng))
        cases.append(Case(path, kind))
    return cases


def _flipping(number, place):
    """Changes bytes: `number` and `place` give how many, and where, from the content's length and the generator."""

    def damage(content, other, rng):
        changed = np.frombuffer(content, np.uint8).copy()
        count = max(1, int(number(len(content), rng)))
        changed[place(len(content), count, rng)] ^= rng.integers(1, 256, count, dtype=np.uint8)
        return changed.tobytes()

    return damage


def _anywhere(length, count, rng):
    return rng.integers(length, size=count)


def _span(content, rng):
    start, end = sorted(rng.integers(len(content) + 1, size=2))
    return int(start), int(start + (end - start) * rng.uniform(0, 0.5))


def _replacing(filling, keep_rest=False):
    """Puts `filling(generator, length)` in place of a piece; with `keep_rest` before it."""

    def damage(content, other, rng):
        start, end = _span(content, rng)
        return content[:start] + filling(rng, end - start) + content[start if keep_rest else end :]

    return damage


def _headers_swapped(content, other, rng):
    size = int(rng.choice([12, 64, 256, 1024, 4096]))
    return other[:size] + content[size:]


_TABLES = (
    b"mvhd tkhd mdhd elst stts ctts stss stsz stsc stco avcC esds pasp avc1 "  # MP4
    b"avih strh strf idx1 LIST 00dc "  # AVI
    b"\x2a\xd7\xb1 \x44\x89 \xb0 \xba \xe7 \xa3 \x1f\x43\xb6\x75 \x54\xb0 "  # Matroska: clock, sizes, clusters, blocks
    b"\x00\x00\x01\xb3 \x00\x00\x01\x00 \x00\x00\x00\x01 \x9d\x01\x2a IHDR \xff\xc0"  # the decoders' own headers
).split(b" ")
_LIES = (b"\x00" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x01", b"\x01\x00\x00\x00")


def _lied(content, _, rng):
    """Extreme numbers in the tables that say sizes, times and counts."""
    changed = bytearray(content)
    present = [table for table in _TABLES if table in content]
    for _ in range(rng.integers(1, 4)):
        table = present[rng.integers(len(present))] if present else content[:4]
        places = [place for place in range(len(content)) if content.startswith(table, place)]
        place = places[rng.integers(len(places))] + len(table) + int(rng.integers(24))
        lie = _LIES[rng.integers(len(_LIES))] if rng.random() < 0.7 else rng.bytes(4)
        changed[place : place + 4] = lie[: max(0, len(changed) - place)]
    return bytes(changed)


DAMAGES = {
    "few bytes flipped": _flipping(lambda length, rng: rng.integers(1, 9), _anywhere),
    "lied": _lied,
    "many bytes flipped": _flipping(lambda length, rng: 10 ** rng.uniform(-3, -1) * length, _anywhere),
    "cut": lambda content, other, rng: content[: rng.integers(len(content))],
    "headers swapped": _headers_swapped,
    "head flipped": _flipping(
        lambda length, rng: rng.integers(1, 20), lambda length, *rest: _anywhere(min(600, length), *rest)
    ),
    "tail flipped": _flipping(  # where MP4 and AVI keep their tables
        lambda length, rng: rng.integers(1, 20), lambda length, *rest: length - 1 - _anywhere(min(900, length), *rest)
    ),
    "beginning lost": lambda content, other, rng: content[rng.integers(len(content)) :],
    "zeroed": _replacing(lambda rng, length: bytes(length)),
    "piece lost": _replacing(lambda rng, length: b""),
    "noise inserted": _replacing(lambda rng, length: rng.bytes(length), keep_rest=True),
    "renamed": lambda content, other, rng: content,
    "joined": lambda content, other, rng: content + other,
}
