import pytest
import tensorflow as tf
from videos import moving, write_video

from ccsn_tf.config import DataConfig
from ccsn_tf.data.datasets import Clip
from ccsn_tf.data.prepare.encode import make_record, result_of
from ccsn_tf.data.prepare.worker_pool import Outcome, WorkerLostError
from ccsn_tf.data.records.read import FOOTER_BYTES, HEADER_BYTES
from ccsn_tf.data.records.write import Record, Skipped, last_change


@pytest.fixture
def clip(tmp_path):
    return Clip("run/a", str(write_video(tmp_path / "a.avi", moving(9))), "run", "1")


def parse(serialised):
    features = tf.train.Example.FromString(serialised).features.feature
    return {name: list(feature.bytes_list.value) for name, feature in features.items()}


def test_record_of_a_video(clip):
    beats = []
    record = make_record(clip, lambda: beats.append(1), DataConfig(), 5)
    assert (record.fields, record.height, record.width) == (8, 36, 48)
    features = parse(record.content[HEADER_BYTES:-FOOTER_BYTES])
    assert features["name"] == [b"run/a"]
    assert (len(features["rgb"]), len(features["flow"]), len(beats)) == (9, 8, 9)


def test_video_that_cannot_be_used(clip):
    with open(clip.path, "w") as file:
        file.write("no video")
    skipped = make_record(clip, lambda: None, DataConfig(), 5)
    assert skipped == Skipped(
        f"{clip.path} cannot be read as a video (Invalid data found when processing input).", last_change(clip)
    )


def test_video_that_vanished(clip):
    absent = Clip("run/b", clip.path + "b", "run", "1")
    assert last_change(absent) is None
    assert make_record(absent, lambda: None, DataConfig(), 5) == Skipped(f"{absent.path} does not exist.", None)


def test_settings_of_the_last_clip_are_not_kept(clip):
    first = make_record(clip, lambda: None, DataConfig(dis_preset="ultrafast"), 5)
    make_record(clip, lambda: None, DataConfig(flow="farneback"), 5)
    assert make_record(clip, lambda: None, DataConfig(dis_preset="ultrafast"), 5) == first
    assert make_record(clip, lambda: None, DataConfig(flow="farneback"), 5) != first


def test_what_becomes_of_an_outcome(clip):
    record = Record(b"", 1, 2, 3)
    assert result_of(Outcome(0, value=record), clip) is record
    lost = result_of(Outcome(0, error=WorkerLostError("its process was killed by SIGSEGV")), clip)
    assert lost == Skipped(f"{clip.path}: its process was killed by SIGSEGV; the same command tries it again.", None)
    defect = result_of(Outcome(0, error=IndexError("3\nof 2")), clip)
    assert defect == Skipped(f"{clip.path}: IndexError: 3 (a defect, please report it)", None)
