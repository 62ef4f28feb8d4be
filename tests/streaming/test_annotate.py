import av
import numpy as np
import pytest
from videos import moving
from videos import write_video as write_source

from ccsn_tf.data.video import iter_timed
from ccsn_tf.errors import UserError
from ccsn_tf.streaming.annotate import write_video
from ccsn_tf.streaming.source import FileSource
from ccsn_tf.streaming.timeline import Segment


def test_pictures_keep_their_times_and_what_was_found_stands_below(tmp_path):
    path = write_source(tmp_path / "a.mp4", moving(num_frames=20, step=(2, 1), height=60, width=80, seed=3))
    before, seen = list(iter_timed(str(path), 720)), []
    half = before[10][0]
    segments = [Segment("kick ball", half, 2 * half, 0.9)]
    write_video(tmp_path / "out.mp4", FileSource(str(path)), segments, lambda *each: seen.append(each))
    after = list(iter_timed(str(tmp_path / "out.mp4"), 720))
    np.testing.assert_allclose([time for time, _ in after], [time for time, _ in before], atol=2e-3)
    height, width = before[0][1].shape[:2]
    for (time, picture), (_, own) in zip(after, before, strict=True):
        shown, caption = picture[: height - 1, : width - 1].astype(float), picture[height:-8]
        assert np.abs(shown - own[: height - 1, : width - 1]).mean() < 12
        assert (caption.max() > 150) == (time >= half - 1e-3)  # the class, while it is seen
    assert seen[-1][0] <= seen[-1][1]
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec.name == "h264"


def test_a_copy_that_cannot_be_written_leaves_nothing(tmp_path):
    path = write_source(tmp_path / "a.mp4", moving(num_frames=4, step=(2, 1), height=32, width=32, seed=3))
    with pytest.raises(UserError, match=r"a\.mp4"):
        write_video(path / "out.mp4", FileSource(str(path)), [])
