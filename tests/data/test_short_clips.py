"""Clips shorter than a snippet of a network that computes flow itself: one sentence, with the remedy."""

import numpy as np
import pytest
from videos import write_video

from ccsn_tf.config import Config
from ccsn_tf.data.plan import training_plan
from ccsn_tf.data.snippets import video_frames
from ccsn_tf.data.video import VideoError
from ccsn_tf.errors import UserError


def test_a_video(tmp_path):
    path = tmp_path / "short.avi"
    write_video(path, np.zeros((5, 36, 48, 3), "uint8"))
    with pytest.raises(VideoError, match=r"short.avi has 5 frames: a snippet of --flow_length=5 flow fields needs 6"):
        video_frames(str(path), Config().replace(flow_source="graph"), 3)


def test_a_record(tiny_data, tiny_manifest):
    classes, clips = tiny_manifest.select(tiny_data, "train")
    model = Config().replace(flow_source="graph", flow_length=14).model
    with pytest.raises(UserError, match=r"has 13 flow fields, fewer than --flow_length=14: prepare again"):
        training_plan(clips, classes, tiny_data, model, seed=0, epoch=0)
