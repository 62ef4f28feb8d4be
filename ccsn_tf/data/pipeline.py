"""Records to batches: a plan in, `tf.data` out; reading, decoding and scaling in threads between.

`training_dataset` and `validation_dataset` are what `CCSN.fit` takes, in one call each.
"""

import concurrent.futures
import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from ccsn_tf.config import Config, ModelConfig
from ccsn_tf.data.plan import Plan, labels_of, places, refuse_short, training_plan
from ccsn_tf.data.records.manifest import Manifest, StoredClip
from ccsn_tf.data.sampling import centre_starts, view_boxes
from ccsn_tf.data.views import InputForm
from ccsn_tf.worker_pool import num_cores

_COLUMNS = ("file", "directory", "fields", "starts", "box", "mirrored")
_MOST_CLIPS = 8  # in memory at a time: 25 segments x 10 crops of 224 pixels are 160 MB


@dataclasses.dataclass(frozen=True)
class Steps:
    """Steps of a training whose plans are drawn when their turn comes.

    Args:
        batch: from a step's number to its columns, {name: (batch, ...)}; asked for the first one once more than needed.
        first: number of the first step.
        last: number after the last step.
    """

    batch: Callable[[int], Plan]
    first: int
    last: int


def training_batches(
    plan: Plan | Steps, model: ModelConfig, replicas: int = 1, share: slice | None = None
) -> tf.data.Dataset:
    """The batches of a training plan, or of several.

    Args:
        plan: from `training_plan`, leading axes (steps, batch); or `Steps` of several such plans.
        model: sizes of the input.
        replicas: replicas that share a global batch; each gets an equal run of it.
        share: the replicas whose part this dataset yields (a worker's own); default all.

    Returns:
        ({"rgb": uint8 (b, K, S, S, 3), "flow": uint8 (b, K, S, S, 2L)}, int32 (b,)), one element a replica and step,
        b = batch / replicas; with `flow_source="graph"` the inputs are {"frames": uint8 (b, K, L+1, S, S, 3)}.
        The replicas' elements of a step follow one another.
    """
    rows = plan_rows(plan, replicas, share)
    per_replica, cores = rows.element_spec["label"].shape[0], num_cores()
    form, leading = InputForm(model), (per_replica, model.num_segments)

    def load_batch(*columns):
        inputs = form.empty(leading)

        def load_share(first):
            for number in range(first, per_replica, cores):
                *where, box, mirrored = (column[number] for column in columns)
                form.write(form.of_record(*where), box, mirrored, {name: part[number] for name, part in inputs.items()})

        # A task a thread, not a clip: whoever waits for them is woken less often, and takes less of Python's lock.
        for _ in _threads().map(load_share, range(cores)):
            pass
        return tuple(inputs.values())

    def load(item):
        return _load(load_batch, item, form.shapes(leading)), item["label"]

    # Enough batches at a time for every core to have a clip, also where one batch ends and the next begins.
    together = 1 + -(-cores // per_replica)
    return untuned(rows.map(load, num_parallel_calls=together).prefetch(max(2, replicas)))


def plan_rows(plan: Plan | Steps, replicas: int = 1, share: slice | None = None) -> tf.data.Dataset:
    """The rows of `training_batches`: what each batch is made of, {name: (b, ...)}."""
    if isinstance(plan, dict):
        return tf.data.Dataset.from_tensor_slices(share_of_plan(plan, replicas, share))

    def columns(step):
        own = share_of_plan({name: values[None] for name, values in plan.batch(int(step)).items()}, replicas, share)
        return {name: np.char.encode(v, "utf-8") if v.dtype.kind == "U" else v for name, v in own.items()}

    first = columns(plan.first)
    dtypes = [tf.string if values.dtype.kind == "S" else values.dtype for values in first.values()]

    def row(step):
        drawn = tf.numpy_function(lambda step: tuple(columns(step).values()), [step], dtypes)
        return {name: tf.ensure_shape(d, known.shape) for (name, known), d in zip(first.items(), drawn, strict=True)}

    # Not `from_generator`: once it has run, every training step of the process takes twice as long (TensorFlow 2.21).
    steps = tf.data.Dataset.range(plan.first, plan.last).map(row).unbatch()
    # The filter hides the length, by which Keras would end an epoch that is gone on with before its last steps.
    return steps.filter(lambda row: True)


def share_of_plan(plan: Plan, replicas: int, share: slice | None) -> Plan:
    """A plan's rows cut into those of each replica, (steps * replicas, batch / replicas, ...), of the share alone."""
    steps, batch = plan["label"].shape
    own = share or slice(0, replicas)
    return {
        name: values.reshape(steps, replicas, batch // replicas, *values.shape[2:])[:, own].reshape(
            -1, batch // replicas, *values.shape[2:]
        )
        for name, values in plan.items()
    }


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
        {"rgb": uint8 (crops, K', S, S, 3), "flow": uint8 (crops, K', S, S, 2L), "label": int32}: K' = `num_segments`;
        with `flow_source="graph"` {"frames": uint8 (crops, K', L+1, S, S, 3)} in place of the first two.

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
    form, leading = InputForm(model), (num_crops, num_segments)

    def load_views(*columns):
        *where, boxes, mirrored = columns
        inputs, snippets = form.empty(leading), form.of_record(*where)
        for number, (box, turned) in enumerate(zip(boxes, mirrored, strict=True)):
            form.write(snippets, box, turned, {name: part[number] for name, part in inputs.items()})
        return tuple(inputs.values())

    def load(item):
        return {**_load(load_views, item, form.shapes(leading)), "label": item["label"]}

    together = max(1, min(num_cores(), _MOST_CLIPS))
    return untuned(tf.data.Dataset.from_tensor_slices(plan).map(load, num_parallel_calls=together).prefetch(2))


def untuned(dataset):
    """The dataset without `tf.data`'s tuner, which has nothing to tune here.

    The tuner sleeps 10 ms, then twice as long each time, up to a minute, and a pass often ends only when it wakes: one
    of 58 s took 82 (docs/TRIALS.md).
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def _load(function, item, shapes):
    """What `function` makes of a plan's item, by name of input."""
    inputs = tf.numpy_function(function, [item[name] for name in _COLUMNS], (tf.uint8,) * len(shapes), stateful=False)
    return {name: tf.ensure_shape(part, shapes[name]) for name, part in zip(shapes, inputs, strict=True)}


@functools.cache
def _threads() -> concurrent.futures.ThreadPoolExecutor:
    return concurrent.futures.ThreadPoolExecutor(num_cores(), "input")


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


def _read(record_dir, split, image_size=112, num_segments=3, flow_length=5, flow_source=None, **settings):
    """The manifest, and a config of what the records were made with and of the settings, for as many classes."""
    manifest = Manifest.read(record_dir)
    flow_source = flow_source or ("graph" if manifest.settings["flow"] == "none" else "stored")
    own = {"record_dir": record_dir, "split": split, "classes_per_batch": min(8, len(manifest.classes))}
    own |= {"image_size": image_size, "num_segments": num_segments, "flow_length": flow_length}
    own |= {"flow_source": flow_source, "lambda_intra": 0.0, "lambda_inter": 0.0}  # the loss is not the data's matter
    if manifest.settings["dataset"] == "demo":
        own["flip"] = False  # a mirror turns left into right, which are classes of the demo set
    return manifest, Config.from_flat({**manifest.settings, **own, **settings})
