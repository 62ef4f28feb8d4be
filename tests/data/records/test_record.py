"""The ZIP file of a clip: what is written, and how little of it is read."""

import os
import zipfile

import numpy as np
import pytest
from record_folders import all_jpegs

from ccsn_tf.data.records.record import FIELDS, FRAMES, MAX_BYTES, OVERHEAD, read_jpegs, record_file, write_record
from ccsn_tf.data.video import iter_frames
from ccsn_tf.data.views import decode_field, decode_frame
from ccsn_tf.errors import UserError


def written(path, frames, fields):
    """Writes a record, frame 0, field 0, frame 1, ...; returns where its directory begins."""
    between = [[(FIELDS, jpeg)] for jpeg in fields] + [[]] * len(frames)
    write_record(
        path, "größer", (item for frame, own in zip(frames, between, strict=False) for item in [(FRAMES, frame), *own])
    )
    with zipfile.ZipFile(path) as file:
        assert file.comment.decode() == "größer" and file.testzip() is None
        return file.start_dir


def test_any_frames_and_fields_are_read_and_nothing_else(tmp_path, monkeypatch):
    rng, path = np.random.default_rng(0), tmp_path / "clips" / "a.zip"
    frames, fields = ([rng.bytes(size) for size in rng.integers(1, 70000, count)] for count in (51, 50))
    directory = written(path, frames, fields)
    everything = read_jpegs(path, directory, 50, range(51), range(50))
    assert tuple([jpeg.tobytes() for jpeg in kind] for kind in everything) == (frames, fields)
    assert read_jpegs(path, directory, 50, [], []) == ([], [])
    pread, counts = os.pread, []
    monkeypatch.setattr(os, "pread", lambda file, count, at: counts.append(count) or pread(file, count, at))
    rgb, flow = read_jpegs(str(path).encode(), directory, 50, [7, 30], [5, 6, 7, 30])
    assert [jpeg.tobytes() for jpeg in rgb + flow] == [frames[7], frames[30], *fields[5:8], fields[30]]
    jpegs = sum(map(len, [frames[7], frames[30], *fields[5:8], fields[30]]))
    assert len(counts) == 5 and sum(counts) - counts[0] < jpegs + 3 * OVERHEAD  # the rows; what lies together at once
    os.truncate(path, directory // 2)
    with pytest.raises(UserError, match=r"a\.zip is shorter than it was: run prepare\.py again"):
        read_jpegs(path, directory, 50, [0], [0])


@pytest.mark.slow
def test_more_than_65535_jpegs(tmp_path):
    """The ZIP's own numbers are larger then; an hour of video has 180,000."""
    frames = [b"%d" % number for number in range(70000)]
    directory = written(tmp_path / "a.zip", frames, [])
    (jpegs, _) = read_jpegs(tmp_path / "a.zip", directory, 69999, [0, 69998, 69999], [])
    assert [jpeg.tobytes() for jpeg in jpegs] == [b"0", b"69998", b"69999"]
    assert MAX_BYTES < 2**31


def test_a_record_that_is_given_up_leaves_nothing_and_names_are_no_paths(tmp_path):
    def jpegs():
        yield FRAMES, b"a"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_record(tmp_path / "a.zip", "a", jpegs())
    assert list(tmp_path.iterdir()) == []
    assert all(record_file(name).count("/") == 2 for name in ("run/a", "/absolute/a", "../a", "ü" * 300))


def test_jpegs_are_those_of_the_video(tiny_manifest, tiny_data, tiny_set):
    for clip in tiny_manifest.clips[::6]:
        frames = list(iter_frames(str(tiny_set / "videos" / f"{clip.name}.avi"), 256))
        stored = all_jpegs(tiny_data.record_dir, clip)
        assert clip.fields == len(frames) - 1 == len(stored[1])
        for jpeg, frame in zip(stored[0], frames, strict=True):
            image = decode_frame(np.frombuffer(jpeg, np.uint8))
            assert image.shape == frame.shape == (clip.height, clip.width, 3)
            assert np.abs(image.astype(int) - frame.astype(int)).mean() < 8
            assert np.abs(image[..., ::-1].astype(int) - frame.astype(int)).mean() > 16  # blue for red
        assert {decode_field(np.frombuffer(jpeg, np.uint8)).shape for jpeg in stored[1]} == {(2, 36, 48)}
