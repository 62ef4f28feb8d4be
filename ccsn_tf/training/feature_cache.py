"""What frozen stages make of each clip, kept on disk, so that a training computes it once and not in every step.

There is a file per clip and stream, named by the clip and by everything that its content depends on: a later run, of
another seed, split or connection, finds what it needs and makes the rest. A killed run loses nothing.
"""

import hashlib
import json
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from ccsn_tf.config import Config
from ccsn_tf.config.settings import STREAMS
from ccsn_tf.data.pipeline import Steps, evaluation_views, plan_rows, training_batches, untuned
from ccsn_tf.data.plan import Plan, fixed_views, labels_of
from ccsn_tf.data.records.manifest import StoredClip, stored_settings
from ccsn_tf.errors import UserError
from ccsn_tf.files import whole_file
from ccsn_tf.models.ccsn import CCSN
from ccsn_tf.training.optimizer import frozen_stage, lr_factors

# Images of each stream in one forward pass.
_IMAGES_PER_PASS = 48
# Of the settings, those that the frozen stages depend on besides their weights.
_OF_INPUT = ("backbone", "image_size", "flow_length", "flow_source")

Report = Callable[[int, int], None]


class FeatureCache:
    """The maps after the last frozen stage, float16, of training views and of test views.

    Training draws from `config.train.cached_views` fixed views per clip (twice as many with `--flip`) in place of a new
    one every time.

    Args:
        model: with the weights that its frozen stages keep, before `freeze`.
        config: `train.feature_cache` is the folder, `train.lr_mults` says which stages are frozen.

    Attributes:
        top: the model from {"spatial", "temporal"} maps to the outputs, to be compiled and trained.

    Raises:
        UserError: nothing is frozen, or a connection block joins the streams at an earlier stage.
    """

    def __init__(self, model: CCSN, config: Config):
        stage = frozen_stage(model, lr_factors(model, config.train.lr_mults))
        if not stage:
            raise UserError(
                "--feature_cache keeps the features of frozen stages, and --lr_mults freezes no first stages of both "
                "streams: pass for example --lr_mults='^(spatial|temporal)/(stem|block[1-5])/:0'."
            )
        self._config, self._stage = config, stage
        bottom, self.top = model.split_at(stage)
        self._bottom = {stream: tf.function(bottom[stream], reduce_retracing=True) for stream in STREAMS}
        self._model, self._flow = model, model.get_config()["flow"]

    def choose(self, plan: Plan, epoch: int) -> Plan:
        """`clip`, `view` and `label` of a plan of `training_plan`; the views are drawn by seed and epoch."""
        sides = 1 + self._config.data.flip
        rng = np.random.default_rng([self._config.train.seed, epoch])
        views = rng.integers(self._config.train.cached_views, size=plan["label"].shape) * sides + plan["mirrored"]
        return {"clip": plan["clip"], "view": views, "label": plan["label"]}

    def training_batches(
        self, clips: Sequence[StoredClip], plan: Plan | Steps, replicas: int, share: slice
    ) -> tf.data.Dataset:
        """As `pipeline.training_batches`, with {"spatial", "temporal"}: float16 (b, K, h, w, C) for inputs.

        Args:
            clips: those of `add_training`, in the plan's order.
            plan: of `choose`, or steps of such plans.
            replicas, share: see there.
        """
        paths = self._paths(clips, self._training())

        def load(row):
            def read(numbers, views):
                chosen = list(zip(numbers, views, strict=True))
                return [np.stack([_open(own[n])[v] for n, v in chosen]) for own in paths.values()]

            return self._named(tf.numpy_function(read, [row["clip"], row["view"]], [tf.float16] * 2)), row["label"]

        return untuned(plan_rows(plan, replicas, share).map(load, num_parallel_calls=2).prefetch(2))

    def add_training(self, clips: Sequence[StoredClip], report: Report) -> None:
        """Computes what is missing of the training views of `clips`."""

        def views(some):
            plan = fixed_views(some, self._config.data, self._config.model, self._config.train.cached_views)
            return (inputs for inputs, _ in training_batches(plan, self._config.model))

        self._add(clips, self._training(), views, report)

    def evaluation_views(
        self, clips: Sequence[StoredClip], classes: Sequence[str], segments: int, crops: int, report: Report
    ) -> tf.data.Dataset:
        """As `pipeline.evaluation_views`, with {"spatial", "temporal"}: float16 (crops, K', h, w, C).

        What is missing is computed first, and `report`ed.
        """
        protocol = {"segments": segments, "crops": crops}

        def views(some):
            views = evaluation_views(some, classes, self._config.data.record_dir, self._config.model, segments, crops)
            return ({name: part for name, part in view.items() if name != "label"} for view in views)

        self._add(clips, protocol, views, report)
        paths = [list(map(str, both)) for both in zip(*self._paths(clips, protocol).values(), strict=True)]

        def read(row):
            return [np.array(_open(path.decode())) for path in row]

        def load(row, label):
            return {**self._named(tf.numpy_function(read, [row], [tf.float16] * 2)), "label": label}

        rows = tf.data.Dataset.from_tensor_slices((paths, labels_of(clips, classes)))
        return untuned(rows.map(load, num_parallel_calls=2).prefetch(2))

    def _add(self, clips, views, make, report):
        missing = {}
        for clip, *paths in zip(clips, *self._paths(clips, views).values(), strict=True):
            absent = {stream: path for stream, path in zip(STREAMS, paths, strict=True) if not path.is_file()}
            if absent:
                missing[clip] = absent
        if not missing:
            return
        for number, (absent, inputs) in enumerate(zip(missing.values(), make(list(missing)), strict=True), start=1):
            for stream, path in absent.items():
                maps = self._run(stream, inputs)
                with whole_file(path) as beside:
                    np.save(beside, maps)
            report(number, len(missing))

    def _run(self, stream, inputs):
        """The stream's maps of inputs (V, K, ...), float16 (V, K, h, w, C), in passes of bounded size."""
        views, segments = next(iter(inputs.values())).shape[:2]
        folded = {name: tf.reshape(part, (views * segments, 1, *part.shape[2:])) for name, part in inputs.items()}
        passes = [
            self._bottom[stream]({name: part[start : start + _IMAGES_PER_PASS] for name, part in folded.items()})
            for start in range(0, views * segments, _IMAGES_PER_PASS)
        ]
        maps = np.concatenate([np.asarray(part, np.float16) for part in passes])
        return maps.reshape(views, segments, *maps.shape[1:])

    def _training(self):
        data, model = self._config.data, self._config.model
        crops = data.crop_scales if data.crop == "corners" else data.min_crop_scale
        views = self._config.train.cached_views
        return {"views": views, "segments": model.num_segments, "crops": crops, "flip": data.flip}

    def _paths(self, clips, views):
        """The clips' files of each stream."""
        model = {name: getattr(self._config.model, name) for name in _OF_INPUT}
        model |= {"flow": self._flow, "precision": self._config.train.precision}
        records = [
            f"{clip.name.replace('/', '+')}-{clip.fields}x{clip.height}x{clip.width}-{clip.bytes}.npy" for clip in clips
        ]
        paths = {}
        for stream in STREAMS:
            weights = _hash_of_weights(self._model, stream, self._stage)  # now: a run that goes on has read them since
            content = [weights, self._stage, model, stored_settings(self._config.data), views]
            key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
            folder = pathlib.Path(self._config.train.feature_cache, f"{stream}-{key}")
            paths[stream] = [folder / record for record in records]
        return paths

    def _named(self, maps):
        for part, known in zip(maps, self.top.inputs, strict=True):
            part.set_shape((None, None, *known.shape[2:]))
        return dict(zip(STREAMS, maps, strict=True))


def _open(path) -> np.ndarray:
    return np.load(path, mmap_mode="r")


def _hash_of_weights(model, stream, last):
    digest = hashlib.sha256()
    for name, stage in model.stages(stream).items():
        for weight in stage.weights:
            digest.update(np.ascontiguousarray(weight).tobytes())
        if name == last:
            return digest.hexdigest()
    raise AssertionError(last)  # `CCSN.split_at` has refused it
