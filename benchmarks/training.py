"""Training speed: a step by `model.fit`, the same step in a plain loop, and in PyTorch, in turns of one run."""

import contextlib
import pathlib
import time

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from benchmarks.side import Side
from ccsn_tf.config import Config
from ccsn_tf.losses import JointLoss
from ccsn_tf.models.ccsn import CCSN
from ccsn_tf.progress import Progress
from ccsn_tf.training.strategy import make_strategy

SIZES = (112, 224)
CLIPS, SEGMENTS, CLASSES, FLOW_LENGTH = 8, 3, 101, 5
BACKBONE = "efficientnet_lite0"


def define_flags() -> None:
    """The benchmark's own options."""
    flags.DEFINE_string("torch_python", "", "training, input: a Python that has torch (and opencv), to compare with.")
    flags.DEFINE_integer("training_steps", 3, "training: timed steps of each turn.", lower_bound=2)
    flags.DEFINE_integer("training_rounds", 3, "training: turns of each side.", lower_bound=1)


def run(config: Config, options) -> dict:
    """Times training steps of 8 clips x 3 segments: EfficientNet-Lite0, cross-attention, joint loss, AdamW, float32.

    The batch is in memory, so that reading is not timed; the first step of each turn is not counted.

    Returns:
        `backbone`, and `sizes` {image size: {side: seconds per step, the median of each turn}}; the sides are "fit",
        "loop" (`tf.function`, gradient tape, `optimizer.apply`) and, with --torch_python, "torch".

    Raises:
        UserError: --torch_python cannot be used.
    """
    sizes, progress = {}, Progress("training", "turns")
    for size in SIZES:
        with make_strategy(config.train).scope():  # as the scripts train
            fit = _fit(_model(size), _batch(size))
        loop = _loop(_model(size), _batch(size))
        sides = {"fit": fit, "loop": loop}
        with contextlib.ExitStack() as stack:
            if options.torch_python:
                script = str(pathlib.Path(__file__).with_name("torch_training.py"))
                command = [options.torch_python, script, *map(str, (size, CLIPS, SEGMENTS, CLASSES, FLOW_LENGTH))]
                sides["torch"] = stack.enter_context(Side("--torch_python", command)).ask
            rows, total = {name: [] for name in sides}, len(SIZES) * len(sides) * options.training_rounds
            for number in range(options.training_rounds * len(sides)):
                name = list(sides)[number % len(sides)]
                rows[name].append(float(np.median(sides[name](steps=options.training_steps)["times"])))
                done = len(sizes) * total // len(SIZES) + number + 1
                said = f"{size} px, {name}: {rows[name][-1]:.3f} s per step"
                progress(done, total, lambda said=said: said)
        sizes[str(size)] = rows
        keras.backend.clear_session()
    return {"backbone": BACKBONE, "sizes": sizes}


def table(report: dict) -> str:
    """The report as Markdown: seconds per step, and the ratios of the other sides to `fit`."""
    lines = [
        f"{report['backbone']}, {CLIPS} clips x {SEGMENTS} segments, cross-attention, joint loss, AdamW, float32; "
        "seconds per step, the median of the turns; ratios are the other side's time over that of fit.",
        "",
        "| image | fit | plain loop | PyTorch | loop / fit | PyTorch / fit |",
        "|---|---|---|---|---|---|",
    ]
    for size, sides in report["sizes"].items():
        middle = {name: float(np.median(times)) for name, times in sides.items()}
        torch = f"{middle['torch']:.3f}" if "torch" in middle else "not asked for"
        ratio = f"{middle['torch'] / middle['fit']:.2f}" if "torch" in middle else ""
        times = f"{middle['fit']:.3f} | {middle['loop']:.3f} | {torch}"
        lines.append(f"| {size} px | {times} | {middle['loop'] / middle['fit']:.2f} | {ratio} |")
    return "\n".join(lines)


def _model(size):
    model = CCSN(CLASSES, backbone=BACKBONE, image_size=size, num_segments=SEGMENTS, flow_length=FLOW_LENGTH)
    model.compile(keras.optimizers.AdamW(1e-4), JointLoss(), jit_compile=False)
    return model


def _batch(size):
    rng = np.random.default_rng(0)
    shapes = {"rgb": 3, "flow": 2 * FLOW_LENGTH}
    inputs = {
        name: rng.integers(0, 256, (CLIPS, SEGMENTS, size, size, channels), "uint8")
        for name, channels in shapes.items()
    }
    return inputs, np.repeat(np.arange(CLIPS // 2), 2).astype("int32")


def _fit(model, batch):
    """A function that trains `steps` steps by `model.fit` and returns their times."""
    data = tf.data.Dataset.from_tensors(batch).repeat()

    def steps(steps):
        clock = _Clock()
        model.fit(data, steps_per_epoch=steps + 1, verbose=0, shuffle=False, callbacks=[clock])
        return {"times": np.diff(clock.ends).tolist()}

    return steps


class _Clock(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.ends = []

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(time.perf_counter())


def _loop(model, batch):
    """The same step, written out by hand."""
    inputs, labels = tf.nest.map_structure(tf.constant, batch)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = model.loss(labels, model(inputs, training=True))
        variables = model.trainable_variables
        model.optimizer.apply(tape.gradient(loss, [variable.value for variable in variables]), variables)
        return loss

    def steps(steps):
        ends = []
        for _ in range(steps + 1):
            step().numpy()
            ends.append(time.perf_counter())
        return {"times": np.diff(ends).tolist()}

    return steps
