import csv
import json
import pathlib
import shutil
import signal
import socket

import cv2
import keras
import numpy as np
import pytest
import worker
from commands import forked
from small_models import SMALL

from ccsn_tf.config import Config
from ccsn_tf.data.records.selection import select_clips
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.compare import read_scores
from ccsn_tf.evaluation.evaluate import evaluate
from ccsn_tf.evaluation.figures import save_history
from ccsn_tf.evaluation.predict import make_forward, predict_video
from ccsn_tf.files import only_process
from ccsn_tf.models.build import build_model, load_model
from ccsn_tf.serving.clips import clips_to_try
from ccsn_tf.serving.metadata import make_metadata
from ccsn_tf.training.train import outcome, train
from ccsn_tf.training.workdir import check_workdir, lock_workdir


@pytest.fixture(scope="module")
def settings(tiny_data):
    """A run on the tiny set of two epochs of two steps: 3 classes, 9 training clips, batches of 2 x 2."""
    return Config(data=tiny_data).replace(
        **SMALL,
        connection="sum",  # the cheapest to trace
        image_size=32,
        num_segments=2,
        flow_length=5,
        epochs=2,
        classes_per_batch=2,
        flip=False,
    )


@pytest.fixture
def config(settings, tmp_path):
    return settings.replace(workdir=str(tmp_path / "run"))


class Seen(keras.callbacks.Callback):
    """The weights after the last step, and those that each validation measured."""

    def __init__(self):
        super().__init__()
        self.last, self.measured = None, []

    def weights(self):
        return [variable.numpy() for variable in self.model.trainable_variables]

    def on_train_batch_end(self, batch, logs=None):
        self.last = self.weights()

    def on_test_begin(self, logs=None):
        self.measured.append(self.weights())


@pytest.fixture(scope="module")
def whole(settings, tmp_path_factory):
    """(config, model, what `Seen` saw) of a run that nothing has interrupted, with all that must come back."""
    workdir, seen = tmp_path_factory.mktemp("whole") / "run", Seen()
    config = settings.replace(workdir=str(workdir), ema=0.9, lr_mults=("^temporal/:2",), deterministic=True)
    return config, train(config, draw=save_history, callbacks=[seen]), seen


def assert_equal(ours, theirs):
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine, other)


def history(workdir):
    return list(csv.DictReader(pathlib.Path(workdir, "history.csv").read_text().splitlines()))


def test_workdir_receives_what_the_readme_promises(whole):
    config, model, _ = whole
    workdir = pathlib.Path(config.train.workdir)
    for name in ("config.json", "classes.json", "history.csv", "model.keras", "checkpoints/last.npz"):
        assert (workdir / name).is_file(), name
    assert not [path for path in workdir.rglob(".*") if path.is_file()], "a half-written file was left"
    rows = history(workdir)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"loss", "ce_spatial", "ce_temporal", "ce_fused", "intra", "inter", "positives"} <= set(rows[0])
    assert {"spatial", "temporal", "fused", "val_spatial", "val_temporal", "val_fused"} <= set(rows[0])
    assert rows[0]["positives"] == "1"  # batches of P x Q leave no clip without a positive
    assert cv2.imread(str(workdir / "history.png")).shape[1] > 300
    assert json.loads((workdir / "classes.json").read_text()) == model.classes

    report = evaluate(config.replace(test_segments=config.model.num_segments))
    assert report == json.loads((workdir / "evaluation.json").read_text())
    assert {"dataset", "split", "connection", "protocol", "num_clips"} <= set(report)
    assert all(0 <= report[s][m] <= 1 for s in ("spatial", "temporal", "fused") for m in ("top1", "top5", "mean_class"))
    assert float(rows[-1]["val_fused"]) == pytest.approx(report["fused"]["top1"])
    scores = read_scores(workdir)
    assert (scores["fused"].argmax(axis=1) == scores["labels"]).mean() == report["fused"]["top1"]
    assert cv2.imread(str(workdir / "confusion.png")).shape[1] > 200


def test_averaged_weights_are_what_is_validated_and_kept(whole):
    config, model, seen = whole
    workdir = pathlib.Path(config.train.workdir)
    kept = load_model(workdir / "model.keras")
    for each in (model, kept):
        assert_equal([v.numpy() for v in each.trainable_variables], seen.measured[-1])
    assert max(np.abs(a - b).max() for a, b in zip(seen.last, seen.measured[-1], strict=True)) > 1e-4
    kept.load_weights(workdir / "checkpoints" / "best.weights.h5")
    best = np.argmax([float(row["val_fused"]) for row in history(workdir)])
    assert_equal([v.numpy() for v in kept.trainable_variables], seen.measured[best])


def test_killed_training_ends_as_the_uninterrupted_one(whole, tmp_path):
    """`kill -9` inside the second epoch, after its first step."""
    config, model, _ = whole
    killed = config.replace(workdir=str(tmp_path / "killed"), checkpoint_minutes=0.0)  # a checkpoint after each step
    killed.write(tmp_path)
    process, said = forked(worker.train_and_be_killed, tmp_path, 3), []
    process.join(300)
    assert process.exitcode == -signal.SIGKILL
    resumed = train(killed, said.append)
    assert "going on after epoch 1, step 1" in said
    assert_equal([v.numpy() for v in resumed.variables], [v.numpy() for v in model.variables])
    mine, theirs = (history(run.train.workdir) for run in (killed, config))
    for row in (*mine, *theirs):
        del row["seconds"]
    assert mine == theirs


def test_a_class_without_test_clips_is_learnt_and_not_measured(whole, tmp_path):
    """Of a run that is done: nothing is left to train."""
    config, _, _ = whole
    records, said = tmp_path / "records", []
    shutil.copytree(config.data.record_dir, records)
    shutil.copytree(config.train.workdir, tmp_path / "run")
    content = json.loads((records / "manifest.json").read_text())
    content["splits"]["1"]["test"] = [name for name in content["splits"]["1"]["test"] if "MoveLeft" not in name]
    (records / "manifest.json").write_text(json.dumps(content))
    config = config.replace(record_dir=str(records), workdir=str(tmp_path / "run"), test_segments=2)
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
        assert {clip.name for clip in clips.stored} < set(content["splits"]["1"]["train"])


def test_a_run_that_relates_its_segments_is_evaluated_and_asked(config):
    """In order (--consensus=trn), from records to a prediction; not trained."""
    config = config.replace(consensus="trn", num_segments=4, test_segments=4)
    (classes, *_), workdir = select_clips(config), pathlib.Path(config.train.workdir)
    with lock_workdir(workdir, config, classes):
        build_model(config.model, classes).save(workdir / "model.keras")
        report = evaluate(config)
    assert report["num_clips"] == 6 and report["protocol"].startswith("4 segments x centre crop")
    video = sorted(pathlib.Path(config.data.video_dir).rglob("*.avi"))[0]
    model = load_model(workdir / "model.keras")
    scores = predict_video(str(video), make_forward(model), config)
    np.testing.assert_allclose(scores["fused"].sum(), 1, rtol=1e-5)
    with pytest.raises(UserError, match=r"was trained with --consensus=trn, whose fixed number of segments no"):
        make_metadata(model, config, None)


@pytest.mark.slow
def test_more_epochs_go_on_as_the_longer_run_would_have_gone(config, tmp_path):
    config = config.replace(schedule="constant", ema=0.9, dropout=0.0)
    weights, said = [], []
    for folder, epochs in (("whole", (2,)), ("extended", (1, 2))):
        for number in epochs:
            model = train(config.replace(workdir=str(tmp_path / folder), epochs=number), said.append)
        weights.append([variable.numpy() for variable in model.trainable_variables])
        assert [row["epoch"] for row in history(tmp_path / folder)] == ["1", "2"]
    assert any(line.startswith("until the last of 2 epochs, ") for line in said)
    for mine, theirs in zip(*weights, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)  # steps of the second epoch differ by 1e-3


def test_two_workers_on_loopback_end_with_the_same_weights(config, tmp_path):
    config.replace(strategy="multiworker", epochs=1, optimizer="sgd").write(tmp_path)
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = ["{}:{}".format(*each.getsockname()) for each in sockets]
    for each in sockets:
        each.close()
    processes = [forked(worker.train_as_worker, tmp_path, addresses, index) for index in range(2)]
    for process in processes:
        process.join(300)
        assert process.exitcode == 0
    ours, theirs = (dict(np.load(tmp_path / f"{index}.npz")) for index in range(2))
    assert ours["replicas"] == 2
    assert_equal(ours.values(), theirs.values())
    assert len(history(config.train.workdir)) == 1


def test_workdir_of_another_configuration_is_refused(config):
    with lock_workdir(check_workdir(config), config, ["a", "b"]):
        pass
    workdir = check_workdir(config.replace(test_crops=5, strategy="single"))  # does not touch the trained model
    for more, epochs in ((False, 5), (True, 1)):
        with pytest.raises(UserError, match=rf"--epochs={epochs}, but .* belongs to a run with 2"):
            check_workdir(config.replace(epochs=epochs), more)
    with pytest.raises(UserError, match=r"--epochs=5: .* falls to 0 by epoch 2 .*--init_spatial"):
        check_workdir(config.replace(epochs=5), more_epochs=True)
    with (
        pytest.raises(UserError, match=r"classes are not those in .*classes\.json"),
        lock_workdir(workdir, config, ["b", "a"]),
    ):
        pass


def test_a_run_that_cannot_start_claims_nothing(config, monkeypatch, two_replicas):
    """The corrected command must not be told that the folder belongs to the mistaken one."""
    with pytest.raises(UserError, match="--workdir is not given"):
        train(config.replace(workdir=""))
    with pytest.raises(UserError, match="--classes_per_batch=4 is more than the 3 classes"):
        train(config.replace(classes_per_batch=4))
    monkeypatch.setattr("ccsn_tf.training.train.make_strategy", lambda _: two_replicas)
    with pytest.raises(UserError, match="does not divide among 2 replicas"):
        train(config.replace(classes_per_batch=3, clips_per_class=3))
    assert not pathlib.Path(config.train.workdir).exists()


def test_one_process_at_a_time_trains_in_a_folder(config):
    with only_process(config.train.workdir), pytest.raises(UserError, match=f"{config.train.workdir} is in use by"):
        train(config)
    assert not pathlib.Path(config.train.workdir, "config.json").exists()


@pytest.mark.parametrize(("fused", "named"), [(0.696, False), (0.6, True)])
def test_the_end_says_which_prediction_is_best(fused, named):
    said = outcome({"val_spatial": 0.5, "val_temporal": 0.7, "val_fused": fused}, 20, "test")
    assert "spatial 50.0, temporal 70.0" in said and f"fused {100 * fused:.1f}" in said
    assert ("temporal_scores" in said) is named
