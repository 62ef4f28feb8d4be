import json

import numpy as np
import pytest

from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.fusion import fuse_runs

PROTOCOL = "3 segments x centre crop a clip, logits averaged, fused by the model"


def write_run(folder, spatial, temporal, labels=(0, 1, 1), classes=("a", "b"), **report):
    """A run's scores as evaluate.py leaves them."""
    folder.mkdir()
    names = np.array([f"clip{i}" for i in range(len(labels))])
    arrays = {"spatial": np.array(spatial, "float32"), "temporal": np.array(temporal, "float32")}
    np.savez(folder / "scores.npz", names=names, labels=np.array(labels), classes=np.array(classes), **arrays)
    content = {"dataset": "ucf101", "split": 1, "protocol": PROTOCOL, **report}
    (folder / "evaluation.json").write_text(json.dumps(content))
    return str(folder)


RGB = [[2, 0], [1, 0], [0, 1]]
FLOW = [[0, 1], [0, 3], [1, 0]]


def test_streams_of_two_runs(tmp_path):
    one = write_run(tmp_path / "one", RGB, np.zeros((3, 2)))
    two = write_run(tmp_path / "two", np.zeros((3, 2)), FLOW)
    report = fuse_runs(one, two, (1.0, 1.0))
    assert report["spatial"]["top1"] == pytest.approx(2 / 3) and report["temporal"]["top1"] == pytest.approx(1 / 3)
    # Sums: (2, 1) right, (1, 3) right, (1, 1) a tie, which counts as wrong.
    assert report["fused"]["top1"] == pytest.approx(2 / 3)
    assert report["protocol"] == "3 segments x centre crop a clip, logits averaged, logits weighted 1:1"
    assert report["num_clips"] == 3


def test_weights_weigh(tmp_path):
    run = write_run(tmp_path / "run", RGB, FLOW)
    assert fuse_runs(run, run, (1.0, 0.0))["fused"] == fuse_runs(run, run, (1.0, 1.0))["spatial"]
    assert fuse_runs(run, run, (0.0, 1.5))["fused"] == fuse_runs(run, run, (1.0, 1.0))["temporal"]
    assert fuse_runs(run, run, (1.5, 1.0))["fused"]["top1"] == 1.0
    assert "1:1.5" in fuse_runs(run, run, (1.0, 1.5))["protocol"]


def test_runs_that_cannot_be_fused(tmp_path):
    run = write_run(tmp_path / "run", RGB, FLOW)
    other = write_run(tmp_path / "other", RGB, FLOW, classes=("b", "a"))
    with pytest.raises(UserError, match=r"run and .*other differ in their classes: fuse runs of the same clips"):
        fuse_runs(run, other, (1.0, 1.0))
    other = write_run(tmp_path / "split2", RGB, FLOW, split=2)
    with pytest.raises(UserError, match=r"differ in split \(1 against 2\): evaluate both alike"):
        fuse_runs(run, other, (1.0, 1.0))
    with pytest.raises(UserError, match=r"nowhere has no scores .*: run evaluate\.py --workdir=.*nowhere first"):
        fuse_runs(run, str(tmp_path / "nowhere"), (1.0, 1.0))
    (tmp_path / "run" / "scores.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match="run has no scores"):
        fuse_runs(run, run, (1.0, 1.0))
