"""Prepared records as the `tf.data` datasets that `CCSN.fit` and `CCSN.evaluate` take, in one call each."""

from __future__ import annotations

import functools
import itertools

import tensorflow as tf

from ccsn_tf.config import Config
from ccsn_tf.data.pipeline import Steps, evaluation_views, training_batches
from ccsn_tf.data.plan import training_plan
from ccsn_tf.data.records.manifest import Manifest


def class_names(record_dir: str, split: int = 1) -> tuple[str, ...]:
    """The classes of prepared records, in label order.

    Raises:
        UserError (a ValueError): no records there.
    """
    manifest, config = _read(record_dir, split)
    return manifest.select(config.data, "test")[0]


def training_dataset(
    record_dir: str,
    split: int = 1,
    image_size: int = 112,
    num_segments: int = 3,
    flow_length: int = 5,
    flow_source: str = "stored",
    seed: int = 0,
    **settings,
) -> tf.data.Dataset:
    """Training batches of P classes x Q clips; each pass over the dataset is the next epoch, drawn from the seed.

    Args:
        record_dir: folder that scripts/prepare.py has written.
        split: which train/test split.
        image_size: S, side of the network's input in pixels.
        num_segments: K, segments per clip.
        flow_length: L, flow fields per segment.
        flow_source: "stored" or "graph", as that of the `CCSN`.
        seed: of batches, segments, crops and mirroring.
        settings: further settings of `ccsn_tf.config.DataConfig`, such as `classes_per_batch` (P, 8 or all),
            `clips_per_class` (Q, 2), `flip` (True) and `sampler` ("balanced").

    Returns:
        ({"rgb": uint8 (P*Q, K, S, S, 3), "flow": uint8 (P*Q, K, S, S, 2L)}, int32 (P*Q,)) per step; with
        `flow_source="graph"` the inputs are {"frames": uint8 (P*Q, K, L + 1, S, S, 3)}. Its cardinality is known.

    Raises:
        UserError (a ValueError): no records there, more classes per batch than there are, or an unknown setting.
    """
    manifest, config = _read(record_dir, split, image_size, num_segments, flow_length, flow_source, **settings)
    classes, clips = manifest.select(config.data, "train")
    epochs = itertools.chain([0], itertools.count())  # the first is asked for twice, once for its shapes

    @functools.lru_cache(maxsize=1)
    def plan(epoch):
        return training_plan(clips, classes, config.data, config.model, seed, epoch)

    def batch(step):
        nonlocal epoch
        if step == 0:
            epoch = next(epochs)
        return {name: values[step] for name, values in plan(epoch).items()}

    epoch, steps = 0, len(plan(0)["label"])
    batches = training_batches(Steps(batch, 0, steps), config.model)
    return batches.apply(tf.data.experimental.assert_cardinality(steps))


def validation_dataset(
    record_dir: str,
    split: int = 1,
    image_size: int = 112,
    num_segments: int = 3,
    flow_length: int = 5,
    flow_source: str = "stored",
    side: str = "test",
    batch_size: int = 8,
    **settings,
) -> tf.data.Dataset:
    """The centre views of the test (or training) clips, in the manifest's order, for `validation_data` and `evaluate`.

    Args:
        record_dir, split, image_size, num_segments, flow_length, flow_source, settings: see `training_dataset`.
        side: "test" or "train".
        batch_size: clips per batch; the last batch may be smaller.

    Returns:
        As `training_dataset`, with `batch_size` clips per element.

    Raises:
        UserError (a ValueError): as `training_dataset`.
    """
    manifest, config = _read(record_dir, split, image_size, num_segments, flow_length, flow_source, **settings)
    classes, clips = manifest.select(config.data, side)
    return centre_batches(evaluation_views(clips, classes, record_dir, config.model, num_segments, 1), batch_size)


def centre_batches(views: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    """Views of one crop, an element per clip, as batches of (inputs, labels)."""

    def first_crop(view):
        return {name: part[0] for name, part in view.items() if name != "label"}, view["label"]

    return views.map(first_crop).batch(batch_size)


def _read(record_dir, split, image_size=112, num_segments=3, flow_length=5, flow_source="stored", **settings):
    """The manifest, and a config of what the records were made with and of the settings, for as many classes."""
    manifest = Manifest.read(record_dir)
    own = {"record_dir": record_dir, "split": split, "classes_per_batch": min(8, len(manifest.classes))}
    own |= {"image_size": image_size, "num_segments": num_segments, "flow_length": flow_length}
    own |= {"flow_source": flow_source, "lambda_intra": 0.0, "lambda_inter": 0.0}  # the loss is not the data's matter
    if manifest.settings["dataset"] == "demo":
        own["flip"] = False  # a mirror turns left into right, which are classes of the demo set
    return manifest, Config.from_flat({**manifest.settings, **own, **settings})
