"""A run whose segments are related in order (--consensus=trn), from records to a prediction."""

import pathlib

import numpy as np
import pytest
from small_models import SMALL

from ccsn_tf.config import Config
from ccsn_tf.data.records.selection import select_clips
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.evaluate import evaluate
from ccsn_tf.evaluation.predict import make_forward, predict_video
from ccsn_tf.models.build import build_model, load_model
from ccsn_tf.serving.metadata import make_metadata
from ccsn_tf.training.workdir import lock_workdir


def test_evaluated_and_asked(tiny_data, tmp_path):
    settings = {"image_size": 32, "connection": "sum", "consensus": "trn", "num_segments": 4, "test_segments": 4}
    config = Config(data=tiny_data).replace(**SMALL, workdir=str(tmp_path), **settings)
    classes, *_ = select_clips(config)
    build_model(config.model, classes).save(tmp_path / "model.keras")
    with lock_workdir(tmp_path, config, classes):
        report = evaluate(config)
    assert report["num_clips"] == 6 and report["protocol"].startswith("4 segments x centre crop")
    video = sorted(pathlib.Path(tiny_data.video_dir).rglob("*.avi"))[0]
    model = load_model(tmp_path / "model.keras")
    scores = predict_video(str(video), make_forward(model), config)
    np.testing.assert_allclose(scores["fused"].sum(), 1, rtol=1e-5)
    with pytest.raises(UserError, match=r"was trained with --consensus=trn, whose fixed number of segments no"):
        make_metadata(model, config, None)
