"""A run whose segments are related in order (--consensus=trn), from records to a prediction."""

import pathlib

import numpy as np
import pytest

from ccsn_tf.config import Config
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.evaluate import evaluate
from ccsn_tf.evaluation.predict import make_forward, predict_video
from ccsn_tf.models.build import load_model
from ccsn_tf.serving.metadata import make_metadata
from ccsn_tf.training.train import train


def test_trained_evaluated_and_asked(tiny_data, tmp_path):
    config = Config(data=tiny_data).replace(
        workdir=str(tmp_path / "run"),
        image_size=32,
        connection="sum",  # the cheapest to trace
        consensus="trn",
        num_segments=4,
        crop="corners",
        epochs=1,
        test_segments=4,
        test_crops=3,
    )
    train(config)
    report = evaluate(config, page=tmp_path / "report.html")
    assert report["num_clips"] == 6 and report["protocol"].startswith("4 segments x 3 crops")
    assert (tmp_path / "report.html").is_file()
    video = sorted(pathlib.Path(tiny_data.video_dir).rglob("*.avi"))[0]
    model = load_model(str(tmp_path / "run" / "model.keras"))
    scores = predict_video(str(video), make_forward(model), config)
    np.testing.assert_allclose(scores["fused"].sum(), 1, rtol=1e-5)
    with pytest.raises(UserError, match=r"run was trained with --consensus=trn, whose fixed number of segments no"):
        make_metadata(model, config, None)
