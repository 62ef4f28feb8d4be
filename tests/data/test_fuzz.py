"""Damaged videos through the real preparation: no crash, no hang, no traceback; each is prepared right or listed."""

import collections
import itertools
import json
import pathlib
import re
import subprocess
import sys

import av
import cv2
import numpy as np
import pytest
from damaged_videos import write_fuzz
from record_folders import all_jpegs

from ccsn_tf.data.records.manifest import StoredClip

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "prepare.py"
ORIGINALS = pathlib.Path(__file__).parents[3] / "shared" / "data" / "originals"
SHORT_SIDE = 32


def prepare(videos, records):
    """Runs the script; returns the manifest."""
    command = [sys.executable, str(SCRIPT), "--dataset=folder", f"--video_dir={videos}", f"--record_dir={records}"]
    command += [f"--short_side={SHORT_SIDE}", "--dis_preset=ultrafast"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    # Nothing but progress: FFmpeg and OpenCV keep their warnings to themselves.
    assert all(line.startswith("prepare ") for line in result.stderr.splitlines()), result.stderr
    return json.loads((records / "manifest.json").read_text())


def first_and_last(clip, records):
    """The stored frames, grey, and how many there are."""
    jpegs, fields = all_jpegs(records, StoredClip(**clip))
    assert len(jpegs) == clip["fields"] + 1 == len(fields) + 1
    return [cv2.imdecode(np.frombuffer(jpegs[index], np.uint8), 0) for index in (0, -1)], len(jpegs)


def by_opencv(path):
    """The first and the last frame, grey and upright, and how many there are."""
    capture, frames = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG), []
    while (frame := capture.read())[0]:
        frames.append(cv2.cvtColor(frame[1], cv2.COLOR_BGR2GRAY))
    return [frames[0], frames[-1]], len(frames)


def by_pyav(path, keep=False):
    """The same, as they are stored; `keep`: all frames are held meanwhile.

    None in place of a frame with values out of its format's range, as FFmpeg fills what is missing: every conversion
    clips them in its way.
    """
    with av.open(str(path), metadata_errors="ignore") as container:
        stream = container.streams.best("video")
        stream.codec_context.thread_count = 1
        frames, ends, count = container.decode(stream), [None, None], 0
        for count, frame in enumerate(list(frames) if keep else frames, start=1):
            grey = cv2.cvtColor(frame.to_ndarray(format="rgb24"), cv2.COLOR_RGB2GRAY)
            ends[1] = None if out_of_range(frame) else grey
            ends[0] = ends[1] if count == 1 else ends[0]
        return ends, count


def out_of_range(frame):
    bits, order = frame.format.components[0].bits, ">u2" if frame.format.name.endswith("be") else "<u2"
    return 8 < bits < 16 and any(np.frombuffer(bytes(plane), order).max() >= 2**bits for plane in frame.planes)


def difference(image, other):
    """Mean difference in brightness where `other` is brought to the size of `image`."""
    scaled = cv2.resize(other, image.shape[::-1], interpolation=cv2.INTER_AREA)
    return np.abs(image.astype(int) - scaled).mean()


def orientations(image):
    return [turned for turns in range(4) for turned in (np.rot90(image, turns), np.rot90(image, turns)[:, ::-1])]


def check_prepared(case, clip, records):
    images, count = first_and_last(clip, records)
    expected, other_count = (by_opencv if case.for_opencv else by_pyav)(case.path)
    others = expected if case.for_opencv else by_pyav(case.path, keep=True)[0]
    assert count == other_count == (case.frames or count), case
    for image, reference, other in zip(images, expected, others, strict=True):
        assert min(image.shape) <= SHORT_SIDE
        # Where FFmpeg cannot decode, it leaves what it finds in memory, and that depends on which frames are held.
        if reference is not None and other is not None and difference(reference, other) < 1:
            # Other frames, and other ways up, differ by 24 and more; noise scaled before or after conversion by 18.
            ways = [reference] if case.for_opencv else orientations(reference)
            assert min(difference(image, np.ascontiguousarray(way)) for way in ways) < 20, case


def check_listed(case, reason):
    assert str(case.path) in reason and "\n" not in reason and len(reason) < 1000, reason
    assert not re.search(r"Error\b|Exception|defect", reason), reason
    if case.kind == "sound":  # too small for the flow, or too short
        assert "--flow=dis fails on frames of" in reason or "has 1 frame: a snippet of" in reason, reason


def run_fuzz(folder, count, originals=()):
    """Returns counts by (kind, what became of it)."""
    cases = write_fuzz(folder / "videos", count, originals=originals)
    manifest = prepare(folder / "videos", folder / "records")
    prepared = {clip["name"]: clip for clip in manifest["clips"]}
    assert {case.name for case in cases} == set(prepared) | set(manifest["skipped"])
    assert len(cases) == len(prepared) + len(manifest["skipped"]) == count
    outcomes, reasons = collections.Counter(), collections.Counter()
    for case in cases:
        kind = case.kind.partition(":")[0]
        if case.name in prepared:
            check_prepared(case, prepared[case.name], folder / "records")
            outcomes[kind, "prepared"] += 1
        else:
            reason = manifest["skipped"][case.name]
            check_listed(case, reason)
            outcomes[kind, "listed"] += 1
            reasons[re.sub(r"\d+", "N", reason.replace(str(case.path), "VIDEO"))] += 1
    return outcomes, reasons


def test_forty_damaged_videos(tmp_path):
    outcomes, reasons = run_fuzz(tmp_path, 40)
    assert sum(outcomes.values()) == 40 and len(reasons) >= 4
    assert outcomes["sound", "prepared"] >= 9 and outcomes["hopeless", "listed"] >= 4
    assert not outcomes["hopeless", "prepared"]


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_two_thousand_damaged_videos(tmp_path):
    originals = sorted(ORIGINALS.glob("*/*.avi"))
    outcomes, reasons = run_fuzz(tmp_path, 2000, originals)
    kinds = sorted({kind for kind, _ in outcomes})
    for kind, what in itertools.product(kinds, ("prepared", "listed")):
        print(f"{outcomes[kind, what]:5d} {kind}, {what}")
    for reason, count in reasons.most_common():
        print(f"{count:5d} {reason}")
    assert sum(outcomes.values()) == 2000
    assert not outcomes["hopeless", "prepared"]
