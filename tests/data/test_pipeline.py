"""Records as batches, and as datasets for `fit` by the ten lines of a notebook user."""

import dataclasses
import subprocess
import sys
import zipfile

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

import ccsn_tf as ct
from ccsn_tf.config import Config, DataConfig, ModelConfig
from ccsn_tf.data.pipeline import Steps, evaluation_views, training_batches
from ccsn_tf.data.plan import training_plan
from ccsn_tf.data.records.manifest import Manifest, StoredClip
from ccsn_tf.data.records.record import FIELDS, FRAMES, record_file, write_record
from ccsn_tf.data.sampling import view_boxes

MODEL = ModelConfig(num_segments=3, flow_length=5, image_size=32)
CLASSES = ("A", "B")

# All but lossless: full quality, full resolution of colours.
LOSSLESS = [
    *(cv2.IMWRITE_JPEG_QUALITY, 100),
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
]


def jpeg(image):
    return cv2.imencode(".jpg", image, LOSSLESS)[1].tobytes()


def write_records(folder, clips):
    """Writes hand-made clips, (frames (N+1, H, W, 3), fields (N, 2, H, W)) each, as the package stores them."""
    stored = []
    for number, (frames, fields) in enumerate(clips):
        name = str(number)
        jpegs = [(FRAMES, jpeg(frame[..., ::-1])) for frame in frames]
        jpegs += [(FIELDS, jpeg(np.concatenate([*field]))) for field in fields]
        path = folder / record_file(name)
        write_record(path, name, jpegs)
        with zipfile.ZipFile(path) as file:
            place = path.stat().st_size, file.start_dir
        stored.append(StoredClip(name, CLASSES[number % 2], "1", *place, len(fields), *frames[0].shape[:2]))
    return stored


def positions(height, width, num_fields):
    """A clip that shows where it is: red and x-flow grow to the right, green and y-flow grow downwards."""
    down, right = np.mgrid[:height, :width]
    x, y = 255 * right / (width - 1), 255 * down / (height - 1)
    frame = np.stack([x, y, np.full_like(x, 128)], axis=-1).round().astype(np.uint8)
    return [frame] * (num_fields + 1), [np.stack([x, y]).round().astype(np.uint8)] * num_fields


def times(height, width, num_fields):
    """A clip that shows when it is: frame i is 10 i, field i is 10 i + 3 (x) and 10 i + 7 (y)."""
    frames = [np.full((height, width, 3), 10 * i, np.uint8) for i in range(num_fields + 1)]
    x_y = np.uint8([3, 7])[:, None, None]
    return frames, [np.broadcast_to(10 * i + x_y, (2, height, width)) for i in range(num_fields)]


SIZES = [(40, 48), (48, 40), (40, 51), (64, 64)]  # of whole JPEG blocks in height, or x and y mix at their seam


def assert_shows(rgb, flow, box, mirrored, size):
    """A view of `positions`, in both streams, (K, 32, 32, ...), is this box of a frame of this size."""
    rgb, flow, (top, left, tall, wide), (height, width) = rgb.astype(int), flow.astype(int), box, size
    x, y = flow[..., 0::2], flow[..., 1::2]
    np.testing.assert_allclose(255 - x if mirrored else x, np.repeat(rgb[..., :1], 5, axis=-1), atol=5)
    np.testing.assert_allclose(y, np.repeat(rgb[..., 1:2], 5, axis=-1), atol=5)
    centres = (np.arange(32) + 0.5) / 32
    columns = 255 * (left + centres * wide - 0.5) / (width - 1)
    np.testing.assert_allclose(rgb[0, 16, :, 0], columns[::-1] if mirrored else columns, atol=6)
    np.testing.assert_allclose(rgb[0, :, 16, 1], 255 * (top + centres * tall - 0.5) / (height - 1), atol=6)


def batches_of(folder, make, epochs, model=MODEL, **settings):
    clips = write_records(folder, [make(*size, 12) for size in SIZES])
    data = DataConfig(record_dir=str(folder), classes_per_batch=2, clips_per_class=2, min_crop_scale=0.4, **settings)
    for epoch in range(epochs):
        plan = training_plan(clips, CLASSES, data, model, 0, epoch)
        yield plan, *next(training_batches(plan, model).as_numpy_iterator())


@pytest.mark.parametrize("crop", ["random", "corners"])
def test_both_streams_see_the_same_place(tmp_path, crop):
    mirrored = []
    for plan, inputs, _ in batches_of(tmp_path / "Größe äöü 走", positions, 4, crop=crop):
        for row, clip in enumerate(plan["clip"][0]):
            mirrored.append(plan["mirrored"][0, row])
            assert_shows(inputs["rgb"][row], inputs["flow"][row], plan["box"][0, row], mirrored[-1], SIZES[clip])
    assert 3 < sum(mirrored) < 13


@pytest.mark.parametrize("length", [1, 4, 5])
def test_both_streams_see_the_same_time(tmp_path, length):
    model = dataclasses.replace(MODEL, flow_length=length)
    for plan, inputs, labels in batches_of(tmp_path / "records", times, 3, model=model, flip=False):
        starts = plan["starts"][0]
        assert inputs["rgb"].shape == (4, 3, 32, 32, 3) and inputs["flow"].shape == (4, 3, 32, 32, 2 * length)
        np.testing.assert_allclose(inputs["rgb"].mean(axis=(2, 3, 4)), 10 * (starts + length // 2), atol=1)
        flow = np.median(inputs["flow"], axis=(2, 3)).reshape(4, 3, length, 2)
        expected = 10 * (starts[..., None] + np.arange(length))
        np.testing.assert_allclose(flow, np.stack([expected + 3, expected + 7], axis=-1), atol=1)
        np.testing.assert_array_equal(labels, plan["label"][0])


@pytest.fixture
def plan(tiny_manifest, tiny_data):
    classes, clips = tiny_manifest.select(tiny_data, "train")
    data = dataclasses.replace(tiny_data, clips_per_class=4)
    plans = [training_plan(clips, classes, data, MODEL, 0, epoch) for epoch in range(2)]
    return {name: np.concatenate([plan[name] for plan in plans]) for name in plans[0]}


def elements(plan, *arguments):
    return list(training_batches(plan, MODEL, *arguments).as_numpy_iterator())


def joined(parts):
    return tf.nest.map_structure(lambda *same: np.concatenate(same), *parts)


def assert_same(a, b):
    for x, y in zip(tf.nest.flatten(a), tf.nest.flatten(b), strict=True):
        np.testing.assert_array_equal(x, y)


def test_batches_of_an_epoch(plan):
    batches = elements(plan)
    assert len(batches) == 2
    for step, (inputs, labels) in enumerate(batches):
        assert inputs["rgb"].shape == (12, 3, 32, 32, 3) and inputs["rgb"].dtype == np.uint8
        assert inputs["flow"].shape == (12, 3, 32, 32, 10) and inputs["flow"].dtype == np.uint8
        assert labels.dtype == np.int32 and labels.tolist() == plan["label"][step].tolist()
    spec = training_batches(plan, MODEL).element_spec
    assert spec[0]["flow"].shape == (12, 3, 32, 32, 10) and spec[1].shape == (12,)
    assert_same(elements(plan), batches)


def test_an_epoch_can_be_taken_up_in_its_middle(plan):
    every = elements(plan)
    assert_same(elements({name: values[1:] for name, values in plan.items()}), every[1:])
    assert elements({name: values[2:] for name, values in plan.items()}) == []

    def step(number):
        return {name: values[number] for name, values in plan.items()}

    assert_same(elements(Steps(step, 0, 2)), every)
    assert_same(elements(Steps(step, 1, 2)), every[1:])


@pytest.mark.parametrize("replicas", [2, 4])
def test_parts_of_the_replicas_are_the_global_batch_and_a_worker_gets_its_share(plan, replicas):
    parts = elements(plan, replicas)
    assert len(parts) == 2 * replicas
    for step, batch in enumerate(elements(plan)):
        assert_same(joined(parts[step * replicas : (step + 1) * replicas]), batch)
    for share in (slice(0, 1), slice(1, replicas)):
        expected = [part for step in range(2) for part in parts[replicas * step : replicas * (step + 1)][share]]
        assert_same(elements(plan, replicas, share), expected)


def views_of(clips, folder, crops, segments=4):
    return list(evaluation_views(clips, CLASSES, str(folder), MODEL, segments, crops).as_numpy_iterator())


@pytest.mark.parametrize("crops", [1, 5, 10])
def test_views_show_the_boxes_in_their_order(tmp_path, crops):
    clips = write_records(tmp_path / "records", [positions(*size, 9) for size in SIZES])
    views = views_of(clips, tmp_path / "records", crops)
    assert [int(view["label"]) for view in views] == [0, 1, 0, 1]
    assert_same(views_of(clips[::-1], tmp_path / "records", crops), views[::-1])
    for view, size in zip(views, SIZES, strict=True):
        assert view["rgb"].shape == (crops, 4, 32, 32, 3) and view["flow"].shape == (crops, 4, 32, 32, 10)
        for crop, (box, mirrored) in enumerate(view_boxes(*size, crops)):
            assert_shows(view["rgb"][crop], view["flow"][crop], box, mirrored, size)


# For `fit`


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
