import csv
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import cv2
import keras
import numpy as np
import pytest

from ccsn_tf.config import Config
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.compare import read_scores
from ccsn_tf.evaluation.evaluate import evaluate
from ccsn_tf.evaluation.figures import save_history
from ccsn_tf.models.build import load_model
from ccsn_tf.serving.clips import clips_to_try
from ccsn_tf.training.train import outcome, train
from ccsn_tf.training.workdir import check_workdir, lock_workdir

WORKER = pathlib.Path(__file__).with_name("worker.py")


@pytest.fixture
def config(tiny_data, tmp_path):
    """A run of seconds on the tiny set: 3 classes, 9 training clips, batches of 3 x 2."""
    return Config(data=tiny_data).replace(
        workdir=str(tmp_path / "run"),
        backbone="tiny",
        connection="sum",  # the cheapest to trace
        image_size=32,
        num_segments=2,
        flow_length=5,
        epochs=2,
        validate_on="test",
        deterministic=True,
        flip=False,
    )


def start(config, tmp_path, name, **environment):
    """A training in a process of its own; returns the process and the path of its final weights."""
    settings, weights = tmp_path / f"{name}.json", tmp_path / f"{name}.npz"
    settings.write_text(config.to_json())
    with (tmp_path / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(WORKER), str(settings), str(weights)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", **environment},
        )
    return process, weights


def wait(process, tmp_path, name):
    code = process.wait(timeout=300)
    assert code == 0, (tmp_path / f"{name}.log").read_text()[-3000:]


def arrays(path):
    with np.load(path) as file:
        return [file[name] for name in file.files]


def history(workdir):
    return list(csv.DictReader((workdir / "history.csv").read_text().splitlines()))


def test_workdir_receives_what_the_readme_promises(config):
    train(config.replace(deterministic=False), draw=save_history)
    workdir = pathlib.Path(config.train.workdir)
    for name in ("config.json", "classes.json", "history.csv", "history.png", "model.keras", "checkpoints/last.npz"):
        assert (workdir / name).is_file(), name
    assert (workdir / "checkpoints" / "best.weights.h5").is_file()
    assert not [path for path in workdir.rglob(".*") if path.is_file()], "a half-written file was left"
    rows = history(workdir)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"loss", "ce_spatial", "ce_temporal", "ce_fused", "intra", "inter", "positives"} <= set(rows[0])
    assert {"spatial", "temporal", "fused", "val_spatial", "val_temporal", "val_fused"} <= set(rows[0])
    assert rows[0]["positives"] == "1"  # batches of P x Q leave no clip without a positive
    assert cv2.imread(str(workdir / "history.png")).shape[1] > 300
    assert json.loads((workdir / "classes.json").read_text()) == load_model(str(workdir / "model.keras")).classes

    report = evaluate(config.replace(test_segments=3))
    assert report == json.loads((workdir / "evaluation.json").read_text())
    assert {"dataset", "split", "connection", "protocol", "num_clips"} <= set(report)
    assert all(0 <= report[s][m] <= 1 for s in ("spatial", "temporal", "fused") for m in ("top1", "top5", "mean_class"))
    with np.load(workdir / "scores.npz") as scores:
        hits = scores["fused"].argmax(axis=1) == scores["labels"]
        assert hits.mean() == report["fused"]["top1"] and len(scores["names"]) == report["num_clips"]
    assert cv2.imread(str(workdir / "confusion.png")).shape[1] > 200


def test_a_class_without_test_clips_is_learnt_and_not_measured(config, tiny_data, tmp_path):
    records, said = tmp_path / "records", []
    shutil.copytree(tiny_data.record_dir, records)
    content = json.loads((records / "manifest.json").read_text())
    content["splits"]["1"]["test"] = [name for name in content["splits"]["1"]["test"] if "MoveLeft" not in name]
    (records / "manifest.json").write_text(json.dumps(content))
    config = config.replace(record_dir=str(records), epochs=1, deterministic=False, test_segments=2)
    model = train(config, said.append)
    assert model.classes == ["MoveDown", "MoveLeft", "MoveRight"]
    assert any(line.startswith("No test clip of MoveLeft: ") and "of 2 of 3 classes" in line for line in said)
    report = evaluate(config)
    assert [row["clips"] for row in report["classes"]] == [2, 0, 2] and report["num_clips"] == 4
    scores = read_scores(config.train.workdir)
    hits = scores["fused"].argmax(axis=1) == scores["labels"]
    expected = (hits[scores["labels"] == 0].mean() + hits[scores["labels"] == 2].mean()) / 2
    assert report["fused"]["mean_class"] == expected and report["classes"][1]["fused"] is None
    content["splits"]["1"]["test"] = []
    (records / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"--record_dir=.* has no test clip in split 1"):
        evaluate(config)
    with clips_to_try(config, tuple(model.classes), 2, must_be_real=True) as clips:  # of an export
        assert clips.source == "training clips of its records"
        assert set(clips.names) < set(content["splits"]["1"]["train"])


def test_killed_training_ends_as_the_uninterrupted_one(config, tmp_path):
    config = config.replace(ema=0.9, lr_mults=("^temporal/:2",))  # whose state must come back too
    whole, expected = start(config.replace(workdir=str(tmp_path / "whole")), tmp_path, "whole")
    wait(whole, tmp_path, "whole")
    killed = config.replace(workdir=str(tmp_path / "killed"), checkpoint_minutes=0.0)  # a checkpoint after each step
    state = tmp_path / "killed" / "checkpoints" / "last.npz"
    first, _ = start(killed, tmp_path, "first")
    while not state.is_file() and first.poll() is None:
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL, "the training ended before it could be killed"
    second, weights = start(killed, tmp_path, "second")
    wait(second, tmp_path, "second")
    assert "going on after" in (tmp_path / "second.log").read_text()
    for mine, theirs in zip(arrays(weights), arrays(expected), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    columns = ("epoch", "loss", "fused", "val_fused", "learning_rate")
    mine, theirs = ([[row[c] for c in columns] for row in history(tmp_path / name)] for name in ("killed", "whole"))
    assert mine == theirs


@pytest.mark.slow
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_more_epochs_go_on_as_the_longer_run_would_have_gone(config, tmp_path, ema):
    config = config.replace(schedule="constant", deterministic=False, ema=ema, classes_per_batch=2, dropout=0.0)
    weights, said = [], []
    for folder, epochs in (("whole", (2,)), ("extended", (1, 2))):
        for number in epochs:
            model = train(config.replace(workdir=str(tmp_path / folder), epochs=number), said.append)
        weights.append([variable.numpy() for variable in model.trainable_variables])
        assert [row["epoch"] for row in history(tmp_path / folder)] == ["1", "2"]
    assert any(line.startswith("until the last of 2 epochs, ") for line in said)
    for mine, theirs in zip(*weights, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)  # steps of the second epoch differ by 1e-3


def test_averaged_weights_are_what_is_validated_and_kept(config):
    class Last(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.weights = [variable.numpy() for variable in self.model.trainable_variables]

    workdir, last = pathlib.Path(config.train.workdir), Last()
    config = config.replace(ema=0.9, epochs=1, classes_per_batch=2, deterministic=False)  # two steps
    model = train(config, callbacks=[last])
    kept = load_model(str(workdir / "model.keras"))
    best = load_model(str(workdir / "model.keras"))
    for variable in best.trainable_variables:
        variable.assign(keras.ops.zeros_like(variable))
    best.load_weights(workdir / "checkpoints" / "best.weights.h5")
    for each in (model, best):
        for mine, theirs in zip(each.trainable_variables, kept.trainable_variables, strict=True):
            np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
    moved = [np.abs(a - b.numpy()).max() for a, b in zip(last.weights, kept.trainable_variables, strict=True)]
    assert max(moved) > 1e-4, "model.keras has the last weights"
    report = evaluate(config.replace(test_segments=config.model.num_segments))
    assert float(history(workdir)[-1]["val_fused"]) == pytest.approx(report["fused"]["top1"])


def test_two_workers_on_loopback_end_with_the_same_weights(config, tmp_path):
    config = config.replace(strategy="multiworker", workdir=str(tmp_path / "shared"), validate_every=2)
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    processes = []
    for index in range(2):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        processes.append(start(config, tmp_path, f"worker{index}", TF_CONFIG=json.dumps(task)))
    for index, (process, _) in enumerate(processes):
        wait(process, tmp_path, f"worker{index}")
    assert "2 replica(s)" in (tmp_path / "worker0.log").read_text()
    for mine, theirs in zip(*(arrays(weights) for _, weights in processes), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert len(history(tmp_path / "shared")) == 2


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def test_workdir_of_another_configuration_is_refused(config):
    lock_workdir(check_workdir(config), config, ["a", "b"])
    workdir = check_workdir(config.replace(test_crops=5, strategy="single"))  # does not touch the trained model
    for more, epochs in ((False, 5), (True, 1)):
        with pytest.raises(UserError, match=rf"--epochs={epochs}, but .* belongs to a run with 2"):
            check_workdir(config.replace(epochs=epochs), more)
    with pytest.raises(UserError, match=r"--epochs=5: .* falls to 0 by epoch 2 .*--init_spatial"):
        check_workdir(config.replace(epochs=5), more_epochs=True)
    with pytest.raises(UserError, match=r"classes are not those in .*classes\.json"):
        lock_workdir(workdir, config, ["b", "a"])


def test_a_run_that_cannot_start_claims_nothing(config):
    """The corrected command must not be told that the folder belongs to the mistaken one."""
    with pytest.raises(UserError, match="--classes_per_batch=4 is more than the 3 classes"):
        train(config.replace(classes_per_batch=4, deterministic=False))
    assert not pathlib.Path(config.train.workdir).exists()


def test_workdir_is_needed(config):
    with pytest.raises(UserError, match="--workdir is not given"):
        check_workdir(config.replace(workdir=""))


def test_damaged_checkpoint_is_named(config):
    config = config.replace(deterministic=False)
    workdir = check_workdir(config)
    (workdir / "checkpoints").mkdir(parents=True)
    (workdir / "checkpoints" / "last.npz").write_bytes(b"PK\x03\x04 not a checkpoint")
    with pytest.raises(UserError, match=r"last\.npz is damaged .* delete it"):
        train(config)


def test_batch_must_divide_among_replicas(config, monkeypatch, two_replicas):
    monkeypatch.setattr("ccsn_tf.training.train.make_strategy", lambda _: two_replicas)
    with pytest.raises(UserError, match="does not divide among 2 replicas"):
        train(config.replace(classes_per_batch=3, clips_per_class=3, deterministic=False))


@pytest.mark.parametrize(("fused", "named"), [(0.7, False), (0.75, False), (0.696, False), (0.6, True)])
def test_the_end_says_which_prediction_is_best(fused, named):
    said = outcome({"val_spatial": 0.5, "val_temporal": 0.7, "val_fused": fused}, 20, "test")
    assert "spatial 50.0, temporal 70.0" in said and f"fused {100 * fused:.1f}" in said
    assert ("temporal_scores" in said) is named
