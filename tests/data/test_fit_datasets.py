"""Records as datasets for `fit`, and the ten lines of a notebook user."""

import subprocess
import sys

import keras
import numpy as np
import pytest

import ccsn_tf as ct
from ccsn_tf.config import Config
from ccsn_tf.data.plan import training_plan
from ccsn_tf.data.records.manifest import Manifest


def datasets(tiny_data, **settings):
    arguments = {"image_size": 32, "num_segments": 2, "flow_length": 5, "clips_per_class": 1, **settings}
    return (make(tiny_data.record_dir, **arguments) for make in (ct.data.training_dataset, ct.data.validation_dataset))


def test_importing_the_package_loads_neither_tensorflow_nor_opencv():
    code = "import sys, ccsn_tf, ccsn_tf.data; sys.exit(any(m in sys.modules for m in ('tensorflow', 'cv2', 'keras')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert set(ct.__all__) <= set(dir(ct)) and all(getattr(ct, name) is not None for name in ct.__all__)


def test_every_pass_is_the_next_epoch(tiny_data):
    train, _ = datasets(tiny_data, seed=3, flip=False)
    settings = {"image_size": 32, "num_segments": 2, "flip": False, "clips_per_class": 1}
    config = Config(data=tiny_data).replace(**settings, lambda_intra=0.0, lambda_inter=0.0)
    classes, clips = Manifest.read(tiny_data.record_dir).select(tiny_data, "train")
    for epoch in range(3):
        plan = training_plan(clips, classes, config.data, config.model, 3, epoch)
        labels = np.array([labels.numpy() for _, labels in train])
        np.testing.assert_array_equal(labels, plan["label"])
        assert len(train) == len(labels)


def test_a_notebook_s_ten_lines(tiny_data, tmp_path):
    """Build with a block of one's own, compile, fit with validation and callbacks, evaluate, save, load."""

    class MyBlock(ct.ConnectionBlock):
        def build_messages(self, shape):
            self.swap = self.pointwise(shape, shape[-1], "swap")

        def messages(self, spatial, temporal):
            return self.swap(temporal), self.swap(spatial)

    train, validation = datasets(tiny_data, clips_per_class=2)
    names = ct.data.class_names(tiny_data.record_dir)
    model = ct.CCSN(classes=names, connection=MyBlock, image_size=32)
    model.compile(optimizer=keras.optimizers.AdamW(1e-3), loss=ct.JointLoss(), metrics=["accuracy"])
    path = str(tmp_path / "best.weights.h5")
    callbacks = [
        keras.callbacks.ModelCheckpoint(path, "val_fused", save_best_only=True, save_weights_only=True, mode="max"),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.EarlyStopping("val_loss", patience=5),
        keras.callbacks.BackupAndRestore(tmp_path / "backup"),
    ]
    history = model.fit(train, validation_data=validation, epochs=2, callbacks=callbacks, verbose=0).history
    assert len(history["loss"]) == 2 and {"fused", "accuracy", "val_accuracy", "val_ce_fused"} <= set(history)
    assert history["fused"] == history["accuracy"] and history["val_fused"] == history["val_accuracy"]
    assert (tmp_path / "log.csv").is_file() and (tmp_path / "best.weights.h5").is_file()
    model.save(tmp_path / "model.keras")
    loaded = ct.load_model(tmp_path / "model.keras")
    measured = loaded.evaluate(validation, return_dict=True, verbose=0)
    assert {f"val_{name}": value for name, value in measured.items()} == pytest.approx(
        {name: values[-1] for name, values in history.items() if name.startswith("val_")}
    )


def test_the_history_is_the_epoch_s_mean_and_bad_labels_and_losses_are_refused(tiny_data):
    """With a learning rate of zero the epoch's figures are those of a plain loop over its batches."""
    train, _ = datasets(tiny_data, flip=False)
    keras.utils.set_random_seed(0)
    model = ct.CCSN(3, image_size=32, dropout=0.0)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    loss = ct.JointLoss(lambda_intra=0.5, lambda_inter=0.5)
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss=loss, run_eagerly=True)
    batches = list(next(datasets(tiny_data, flip=False)))  # the same first epoch
    history = model.fit(train, epochs=1, verbose=0).history
    assert len(batches) > 1
    outputs = [(labels, model(inputs, training=True)) for inputs, labels in batches]
    mean = np.mean([float(loss(labels, out)) for labels, out in outputs])
    hits = np.concatenate([out["logits"].numpy().argmax(1) == labels.numpy() for labels, out in outputs])
    assert history["loss"][0] == pytest.approx(mean, rel=1e-5)
    assert history["fused"][0] == pytest.approx(hits.mean())
    with pytest.raises(ValueError, match="`y`"):
        model.fit(train.map(lambda inputs, labels: (inputs, labels + 1)), verbose=0)
    with pytest.raises(ValueError, match="`loss`"):
        model.compile(loss="mse")
