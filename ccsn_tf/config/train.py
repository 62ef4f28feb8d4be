"""Settings of a training run."""

from __future__ import annotations

import dataclasses

from ccsn_tf.config.setting import Checked, setting


@dataclasses.dataclass(frozen=True)
class TrainConfig(Checked):
    """Optimisation, where it runs, and what it leaves behind."""

    workdir: str = setting("", "Receives config.json, history, checkpoints and model.keras.")
    epochs: int = setting(12, "Passes over the training clips.", minimum=1)
    optimizer: str = setting("adamw", "Optimizer.", choices=("sgd", "adamw"))
    learning_rate: float = setting(1e-3, "Peak learning rate.", minimum=0)
    momentum: float = setting(0.9, "Momentum of sgd.", minimum=0.0, maximum=0.999)
    weight_decay: float = setting(5e-4, "Decoupled weight decay, kernels only.", minimum=0)
    schedule: str = setting("cosine", "Learning rate over time.", choices=("constant", "step", "cosine"))
    warmup_epochs: float = setting(0.5, "Linear warm-up.", minimum=0)
    step_epochs: tuple[int, ...] = setting((), "schedule=step: epochs after which the rate drops.", minimum=1)
    step_factor: float = setting(0.1, "schedule=step: factor of each drop.", minimum=0, maximum=1)
    clip_norm: float = setting(0.0, "Clip the gradient's global norm; 0: off.", minimum=0)
    temporal_rate: float = setting(1.0, "Learning rate of the temporal stream, in multiples.", minimum=0)
    temporal_stem_rate: float = setting(1.0, "Further factor for its first convolution.", minimum=0)
    connection_rate: float = setting(
        1.0, "Learning rate of the connection blocks, in multiples: they start at nothing.", minimum=0
    )
    flow_rate: float = setting(
        1.0, "Learning rate of learnable flow, in multiples: it starts at the classical method.", minimum=0
    )
    bias_rate: float = setting(1.0, "Further factor for biases.", minimum=0)
    partial_bn: str = setting(
        "none",
        "Streams whose BatchNormalizations are frozen, but for the first of each.",
        choices=("none", "spatial", "temporal", "both"),
    )
    ema: float = setting(0.0, "Momentum of the averaged weights that are kept; 0: the last ones.", minimum=0, maximum=1)
    freeze_spatial: str = setting("", "Stage up to which the spatial stream keeps the weights it starts from.")
    freeze_temporal: str = setting("", "The same of the temporal stream.")
    frozen_cache: str = setting(
        "", "Folder for what the frozen stages make of each clip's views, so that they are run once (docs/METHOD.md)."
    )
    frozen_views: int = setting(8, "With --frozen_cache: training views a clip that are kept.", minimum=1)
    init_spatial: str = setting("", "Finished run whose spatial stream this one starts from.")
    init_temporal: str = setting("", "Finished run whose temporal stream this one starts from.")
    precision: str = setting("float32", "Compute dtype policy.", choices=("float32", "mixed_bfloat16", "mixed_float16"))
    strategy: str = setting("auto", "tf.distribute strategy.", choices=("auto", "single", "mirrored", "multiworker"))
    virtual_replicas: int = setting(0, "Split the CPU into this many replicas (to try distribution).", minimum=0)
    seed: int = setting(0, "Seed of weights, batches, crops and dropout.", minimum=0)
    deterministic: bool = setting(False, "Deterministic TensorFlow operations.")
    validate_on: str = setting("test", "Clips measured while training.", choices=("none", "holdout", "test"))
    validate_every: int = setting(1, "Epochs between two validations.", minimum=1)
    checkpoint_minutes: float = setting(10.0, "Minutes between checkpoints inside an epoch.", minimum=0)
