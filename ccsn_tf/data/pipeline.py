"""Records to batches: `tf.data` over a plan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ccsn_tf.config import ModelConfig
from ccsn_tf.data.augment import view_boxes
from ccsn_tf.data.manifest import StoredClip
from ccsn_tf.data.plan import Plan, labels_of, places, refuse_short
from ccsn_tf.data.records import read_record
from ccsn_tf.data.sampling import centre_starts
from ccsn_tf.data.transform import decode_snippets, network_input


def training_batches(plan: Plan, model: ModelConfig, replicas: int = 1, share: slice | None = None) -> tf.data.Dataset:
    """The batches of a training plan.

    Args:
        plan: from `training_plan`, leading axes (steps, batch).
        model: sizes of the input.
        replicas: replicas that share a global batch; each gets an equal run of it.
        share: the replicas whose part this dataset yields (a worker's own); default all.

    Returns:
        ({"rgb": uint8 (b, K, S, S, 3), "flow": uint8 (b, K, S, S, 2L)}, int32 (b,)), one element a replica and step,
        b = batch / replicas. The replicas' elements of a step follow one another.
    """
    steps, batch = plan["label"].shape
    per_replica = batch // replicas
    own = share or slice(0, replicas)
    chosen = {
        name: values.reshape(steps, replicas, per_replica, *values.shape[2:])[:, own].reshape(-1, *values.shape[2:])
        for name, values in plan.items()
    }

    def load(item):
        record = read_record(item["file"], item["offset"], item["length"], item["size"])
        frames, fields = decode_snippets(record["rgb"], record["flow"], item["starts"], model.flow_length)
        rgb, flow = network_input(frames, fields, item["box"], item["mirrored"], model.image_size)
        return {"rgb": rgb, "flow": flow}, item["label"]

    dataset = tf.data.Dataset.from_tensor_slices(chosen).map(load, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(per_replica, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def evaluation_views(
    clips: Sequence[StoredClip],
    classes: Sequence[str],
    record_dir: str,
    model: ModelConfig,
    num_segments: int,
    num_crops: int,
) -> tf.data.Dataset:
    """The test views of clips, one clip an element, in the order of `clips`.

    Returns:
        {"rgb": uint8 (crops, K', S, S, 3), "flow": uint8 (crops, K', S, S, 2L), "label": int32}: K' = `num_segments`.

    Raises:
        UserError: a clip is shorter than a snippet.
    """
    refuse_short(clips, model.flow_length)
    boxes = [view_boxes(clip.height, clip.width, num_crops) for clip in clips]
    plan = {
        **places(clips, record_dir),
        "label": labels_of(clips, classes),
        "starts": np.array([centre_starts(clip.fields, num_segments, model.flow_length) for clip in clips]),
        "box": np.array([[box for box, _ in views] for views in boxes]),
        "mirrored": np.array([[mirrored for _, mirrored in views] for views in boxes]),
    }

    def load(item):
        record = read_record(item["file"], item["offset"], item["length"], item["size"])
        frames, fields = decode_snippets(record["rgb"], record["flow"], item["starts"], model.flow_length)
        views = [
            network_input(frames, fields, item["box"][crop], item["mirrored"][crop], model.image_size)
            for crop in range(num_crops)
        ]
        rgb, flow = (tf.stack(parts) for parts in zip(*views, strict=True))
        return {"rgb": rgb, "flow": flow, "label": item["label"]}

    return tf.data.Dataset.from_tensor_slices(plan).map(load, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)
