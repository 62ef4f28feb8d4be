"""A run whose streams see snippets in space and time, from records to a prediction."""

import pathlib

import numpy as np
import pytest

from ccsn_tf.config import Config
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.evaluate import evaluate
from ccsn_tf.evaluation.predict import predict_video
from ccsn_tf.evaluation.protocol import make_forward
from ccsn_tf.models.build import load_model
from ccsn_tf.serving.metadata import make_metadata
from ccsn_tf.training.train import train


def test_trained_evaluated_and_asked(small3d_registered, tiny_data, tmp_path):
    config = Config(data=tiny_data).replace(
        workdir=str(tmp_path / "run"),
        backbone="small3d",
        flow_length=5,
        frames_per_segment=5,
        image_size=32,
        num_segments=2,
        epochs=1,
        test_segments=2,
    )
    train(config)
    report = evaluate(config)
    assert report["num_clips"] == 6 and (tmp_path / "run" / "scores.npz").is_file()
    video = sorted(pathlib.Path(tiny_data.video_dir).rglob("*.avi"))[0]
    model = load_model(str(tmp_path / "run" / "model.keras"))
    scores = predict_video(str(video), make_forward(model), config)
    np.testing.assert_allclose(scores["fused"].sum(), 1, rtol=1e-5)
    with pytest.raises(UserError, match="models of --backbone=small3d, which see several frames a segment, cannot be"):
        make_metadata(model, config, None)
