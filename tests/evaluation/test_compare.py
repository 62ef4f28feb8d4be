import itertools
import json

import numpy as np
import pytest

from ccsn_tf.config import Config, DataConfig, EvalConfig
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.compare import compare_runs, fuse_runs, protocol_in_words

PROTOCOL = "3 segments x centre crop a clip, logits averaged, fused by the model"
RGB = np.array([[2, 0], [1, 0], [0, 1]], np.float32)
FLOW = np.array([[0, 1], [0, 3], [1, 0]], np.float32)


def write_run(folder, top1=0.5, protocol=PROTOCOL, scores=None, measured_on="ucf101", **settings):
    """A run as train.py and evaluate.py leave it; `scores` are arrays of scores.npz in place of those here."""
    config = Config().replace(**settings)
    folder.mkdir()
    config.write(folder)
    figures = {"top1": top1, "top5": 1.0, "mean_class": top1 / 2}
    report = {"dataset": measured_on, "split": config.data.split, "protocol": protocol, "num_clips": 40}
    report |= dict.fromkeys(("spatial", "temporal", "fused"), figures)
    (folder / "evaluation.json").write_text(json.dumps(report))
    arrays = {"names": ["clip0", "clip1", "clip2"], "labels": [0, 1, 1], "classes": ["a", "b"]}
    np.savez(folder / "scores.npz", **{**arrays, "spatial": RGB, "temporal": FLOW, "fused": RGB, **(scores or {})})
    return str(folder)


def rows(table):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[4:]]


def test_one_row_a_run_with_the_protocol_above(tmp_path):
    table = compare_runs([write_run(tmp_path / "a", 0.75)])
    assert table.splitlines()[0] == f"ucf101; {PROTOCOL}. In %."
    assert rows(table) == [[str(tmp_path / "a"), "1", "40", "75.0", "75.0", "75.0", "100.0", "37.5"]]


def test_mean_over_splits_weighs_splits_alike_whatever_the_seeds(tmp_path):
    runs = [
        write_run(tmp_path / "a", 0.5, split=1, seed=0),
        write_run(tmp_path / "b", 0.7, split=1, seed=1),
        write_run(tmp_path / "c", 0.9, split=2, seed=0),
        write_run(tmp_path / "d", 0.1, split=1, connection="sum"),
    ]
    *runs_alone, last = rows(compare_runs(runs))
    assert last[:4] == ["mean over splits", "1, 2", "", "75.0"] and len(runs_alone) == 4


def test_streams_of_two_runs_are_joined_by_the_clips_names(tmp_path):
    one = write_run(tmp_path / "one", scores={"temporal": np.zeros((3, 2))})
    turned = {"names": ["clip2", "clip1", "clip0"], "labels": [1, 1, 0], "temporal": FLOW[::-1]}
    two = write_run(tmp_path / "two", scores={**turned, "spatial": np.zeros((3, 2))})
    report = fuse_runs(one, two, (1.0, 1.0))
    assert report["spatial"]["top1"] == pytest.approx(2 / 3) and report["temporal"]["top1"] == pytest.approx(1 / 3)
    # Sums: (2, 1) right, (1, 3) right, (1, 1) a tie, which counts as wrong.
    assert report["fused"]["top1"] == pytest.approx(2 / 3) and report["num_clips"] == 3
    assert report["protocol"] == "3 segments x centre crop a clip, logits averaged, logits weighted 1:1"


def test_weights_weigh(tmp_path):
    run = write_run(tmp_path / "run")
    assert fuse_runs(run, run, (1.0, 0.0))["fused"] == fuse_runs(run, run, (1.0, 1.0))["spatial"]
    assert fuse_runs(run, run, (0.0, 1.5))["fused"] == fuse_runs(run, run, (1.0, 1.0))["temporal"]
    assert fuse_runs(run, run, (1.5, 1.0))["fused"]["top1"] == 1.0


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("names", {"scores": {"names": ["clip0", "clip1", "clip3"]}}),
        ("labels", {"scores": {"labels": [0, 1, 0]}}),
        ("classes", {"scores": {"classes": ["b", "a"]}}),
        (r"split \(1 against 2\)", {"split": 2}),
        ("protocol", {"protocol": "25 segments"}),
    ],
)
def test_runs_of_other_clips_are_not_fused(tmp_path, what, changes):
    runs = write_run(tmp_path / "run"), write_run(tmp_path / "other", **changes)
    with pytest.raises(UserError, match=f"run and .*other differ in .*{what}"):
        fuse_runs(*runs, (1.0, 1.0))


def test_runs_that_cannot_be_compared(tmp_path):
    run, other = write_run(tmp_path / "run"), write_run(tmp_path / "other", protocol="q")
    elsewhere = write_run(tmp_path / "elsewhere", measured_on="folder")
    for another, named in ((other, f"{PROTOCOL}; ucf101; q"), (elsewhere, r"\(folder; .*; ucf101; ")):
        with pytest.raises(UserError, match=named):
            compare_runs([run, another])
    for use in (lambda workdir: compare_runs([workdir]), lambda workdir: fuse_runs(run, workdir, (1.0, 1.0))):
        with pytest.raises(UserError, match=r"x/evaluation\.json .*: run evaluate\.py --workdir=.*x first"):
            use(str(tmp_path / "x"))
    for damaged in (b"PK", b"PK\3\4and no more"):
        (tmp_path / "run" / "scores.npz").write_bytes(damaged)
        with pytest.raises(UserError, match=r"run/scores\.npz .*: run evaluate\.py"):
            fuse_runs(run, run, (1.0, 1.0))


def test_protocols_differ_in_words():
    settings = itertools.product((3, 25), (1, 3, 5, 10), ("logits", "probabilities"), (0, 1))
    assert len({protocol_in_words(EvalConfig(*each), DataConfig(fold=fold)) for *each, fold in settings}) == 32
    assert protocol_in_words(EvalConfig(3), DataConfig()) == PROTOCOL
