"""Every setting of the package: frozen dataclasses, checked when they are made.

A field is a command-line flag of the same name in every script; its metadata carries the flag's help. The five groups
have no field name in common, so that a flag file is a flat list.
"""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib

from ccsn_tf.errors import UserError

# What a trained model does not depend on: may differ from one command to the next on the same work directory.
UNBOUND = frozenset(
    [
        "video_dir",
        "split_dir",
        "train_list",
        "test_list",
        "class_file",
        "record_dir",
        "cache",
        "frozen_cache",
        "workdir",
        "validate_every",
        "workers",
        "stall_seconds",
        "runner",
        "beam_args",
        "strategy",
        "virtual_replicas",
        "checkpoint_minutes",
        "test_on",
        "test_segments",
        "test_crops",
        "average",
        "top_k",
    ]
)


def setting(default, help, choices=None, minimum=None, maximum=None):
    """A dataclass field that is also a flag: `choices` and the range are checked when the config is made."""
    metadata = {"help": help, "choices": choices, "minimum": minimum, "maximum": maximum}
    return dataclasses.field(default=default, metadata=metadata)


class _Checked:
    def __post_init__(self):
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))


def _check(field, value):
    choices, minimum, maximum = (field.metadata[key] for key in ("choices", "minimum", "maximum"))
    if choices and value not in choices:
        raise UserError(f"--{field.name} must be one of {', '.join(map(str, choices))}. Received: {value!r}.")
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, float) and not math.isfinite(number):
            raise UserError(f"--{field.name} must be a finite number. Received: {value}.")
        if minimum is not None and number < minimum:
            raise UserError(f"--{field.name} must be at least {minimum}. Received: {value}.")
        if maximum is not None and number > maximum:
            raise UserError(f"--{field.name} must be at most {maximum}. Received: {value}.")


@dataclasses.dataclass(frozen=True)
class DataConfig(_Checked):
    """Where the clips are, what is stored of them, and how a training batch is drawn."""

    dataset: str = setting(
        "ucf101",
        "Layout of --video_dir (docs/DATASETS.md).",
        choices=("ucf101", "hmdb51", "sthv2", "folder", "list", "demo"),
    )
    video_dir: str = setting("", "Folder of the videos: <class>/<video> (folder: also train/<class>/, test/<class>/).")
    split_dir: str = setting("", "ucf101, hmdb51, sthv2: folder of the publisher's lists.")
    train_list: str = setting("", "list: text file of the training clips, '<path> <label>' a line.")
    test_list: str = setting("", "list: that of the test clips; empty: --test_fraction of the others.")
    class_file: str = setting("", "list: names of the classes, one a line, from label 0.")
    split: int = setting(1, "Which train/test split.", minimum=1)
    classes: tuple[str, ...] = setting((), "Only these classes, in this order (comma-separated); empty: all.")
    record_dir: str = setting("", "Folder of the prepared records.")
    cache: str = setting(
        "",
        "Folder on a fast local disk, or in memory (/dev/shm), that training copies its record files to and reads them "
        "from; it must have room for all of them, and keeps them for later runs.",
    )
    demo_train_clips: int = setting(2000, "demo: training clips rendered into --video_dir.", minimum=8)
    demo_test_clips: int = setting(400, "demo: test clips rendered.", minimum=4)
    demo_size: int = setting(64, "demo: height and width of the videos, in pixels.", minimum=32)
    test_fraction: float = setting(
        0.2, "folder without train/ and test/, list without --test_list: share held out.", minimum=0.05, maximum=0.95
    )
    short_side: int = setting(256, "Frames with a longer short side are scaled down to it, in pixels.", minimum=16)
    flow: str = setting(
        "dis",
        "Optical flow that records hold: an algorithm, the flow images of frame folders (stored), or none.",
        choices=("dis", "farneback", "tvl1", "tvl1_graph", "stored", "none"),
    )
    dis_preset: str = setting("fast", "DIS preset (docs/BENCHMARKS.md).", choices=("ultrafast", "fast", "medium"))
    dis_finest_scale: int = setting(1, "DIS: finest pyramid level, 0 is full resolution.", minimum=0, maximum=4)
    tvl1_levels: int = setting(4, "TV-L1 in the graph: most levels of the pyramid.", minimum=1)
    tvl1_warps: tuple[int, ...] = setting((1, 2), "TV-L1 in the graph: warps a level, the finest first.", minimum=1)
    tvl1_iterations: tuple[int, ...] = setting(
        (16, 16, 20), "TV-L1 in the graph: inner iterations a warp, the finest level first.", minimum=1
    )
    tvl1_lambda: float = setting(0.3, "TV-L1 in the graph: weight of the data, for grey values 0-255.", minimum=1e-3)
    tvl1_theta: float = setting(0.6, "TV-L1 in the graph: tightness, in pixels squared.", minimum=1e-3)
    tvl1_medians: int = setting(1, "TV-L1 in the graph: 3x3 medians of the field after each warp.", minimum=0)
    tvl1_smooth: bool = setting(True, "TV-L1 in the graph: smooth the images first.")
    flow_side: int = setting(
        128, "Flow is computed on frames scaled down to this short side, and scaled up again; 0: as stored.", minimum=0
    )
    flow_stride: int = setting(1, "Store every this many frames, each with the flow to the frame after it.", minimum=1)
    flow_bound: float = setting(20.0, "Flow is clipped to +- this many pixels and stored in 8 bits.", minimum=1.0)
    jpeg_quality: int = setting(95, "JPEG quality of stored frames and flow fields.", minimum=50, maximum=100)
    clips_per_shard: int = setting(32, "Clips a record file.", minimum=1)
    workers: int = setting(0, "Processes that prepare videos; 0: one a core.", minimum=0)
    stall_seconds: float = setting(60.0, "A video that yields no frame for as long is skipped, in seconds.", minimum=1)
    runner: str = setting(
        "local",
        "Who prepares or infers: this machine, or a runner of Apache Beam.",
        choices=("local", "DirectRunner", "FlinkRunner", "SparkRunner", "DataflowRunner"),
    )
    beam_args: str = setting("", "Options of that runner, as in --beam_args='--region=R --project=P'.")
    sampler: str = setting(
        "balanced", "Training batches: P classes x Q clips, or shuffled clips.", ("balanced", "shuffle")
    )
    classes_per_batch: int = setting(8, "P: classes in a global batch.", minimum=1)
    clips_per_class: int = setting(2, "Q: clips of each of them.", minimum=1)
    flip: bool = setting(True, "Mirror half of the training clips (x-flow is negated).")
    mirror_pairs: tuple[str, ...] = setting((), "Classes that a mirror exchanges, as in MoveLeft:MoveRight,A:B.")
    crop: str = setting(
        "random",
        "Training crops: squares anywhere, or TSN's, of --crop_scales, at corners, centre and between.",
        choices=("random", "corners"),
    )
    min_crop_scale: float = setting(
        0.75, "crop=random: smallest side, as a share of the frame's short one.", minimum=0.1, maximum=1
    )
    crop_scales: tuple[float, ...] = setting(
        (1.0, 0.875, 0.75, 0.66),
        "crop=corners: sides, as shares of the frame's short one; height and width are at most one step apart.",
        minimum=0.1,
        maximum=1,
    )
    holdout_groups: int = setting(0, "Training groups kept back for --validate_on=holdout.", minimum=0)

    def __post_init__(self):
        super().__post_init__()
        if self.crop == "corners" and not self.crop_scales:
            raise UserError("--crop=corners needs --crop_scales, as in --crop_scales=1,0.875,0.75,0.66.")
        for name in ("tvl1_warps", "tvl1_iterations"):
            if not getattr(self, name):
                raise UserError(f"--{name} needs a number, or one a level, as in --{name}=2,3.")
        for pair in self.mirror_pairs:
            if len({name for name in pair.split(":") if name}) != 2 or pair.count(":") != 1:
                raise UserError(f"--mirror_pairs must be pairs of classes, as in Left:Right. Received: {pair}.")

    @property
    def batch_size(self) -> int:
        """Clips in a global batch, P x Q."""
        return self.classes_per_batch * self.clips_per_class

    @property
    def tvl1(self) -> dict:
        """The arguments of `TVL1Flow`, wherever it computes: in the network, or for records of `flow=tvl1_graph`."""
        return {
            "levels": self.tvl1_levels,
            "warps": self.tvl1_warps,
            "iterations": self.tvl1_iterations,
            "attachment": self.tvl1_lambda,
            "tightness": self.tvl1_theta,
            "median": self.tvl1_medians,
            "smooth": self.tvl1_smooth,
        }


@dataclasses.dataclass(frozen=True)
class ModelConfig(_Checked):
    """The two-stream network (METHOD: Streams, Connection block, Heads)."""

    backbone: str = setting(
        "tiny",
        "tiny, efficientnet_lite0, bn_inception, resnet50, inception_i3d or applications:<keras.applications class>.",
    )
    pretrained: str = setting("none", "Weights both streams start from.", choices=("none", "imagenet"))
    connection: str = setting(
        "cross_attention",
        "How the streams are joined.",
        choices=("none", "sum", "product", "concat", "shared_affinity", "nonlocal", "cross_attention"),
    )
    connect_at: tuple[str, ...] = setting((), "Stages with a connection block; empty: the backbone's default.")
    position: str = setting("distance", "Position bias of cross_attention.", choices=("distance", "mlp", "none"))
    attention_heads: int = setting(4, "Heads of the attention kinds.", minimum=1)
    connection_dropout: float = setting(
        0.0, "Share of the messages between the streams left out in training.", minimum=0.0, maximum=0.99
    )
    span: str = setting("segment", "Attention within a segment or over the clip.", choices=("segment", "clip"))
    consensus: str = setting(
        "mean",
        "How a clip's segments become one feature: their mean (TSN), or relations between them in order (TRN).",
        choices=("mean", "trn"),
    )
    num_segments: int = setting(3, "K: segments a training clip.", minimum=1)
    flow_length: int = setting(5, "L: flow fields a segment.", minimum=1, maximum=64)
    frames_per_segment: int = setting(
        1,
        "RGB frames a segment: 1, the middle one, or as many as --flow_length (inception_i3d).",
        minimum=1,
        maximum=64,
    )
    image_size: int = setting(112, "Height and width of the network's input, in pixels.", minimum=16)
    flow_source: str = setting(
        "stored",
        "Where the temporal stream's flow comes from: the records, or frames, by TV-L1 inside the model.",
        choices=("stored", "graph"),
    )
    learnable_flow: bool = setting(False, "flow_source=graph: train TV-L1's weights and kernels with the rest.")
    embedding_dim: int = setting(128, "E: width of the shared embedding space.", minimum=1)
    dropout: float = setting(0.5, "Dropout before the classifiers.", minimum=0.0, maximum=0.99)
    temporal_dropout: float = setting(-1.0, "Dropout of the temporal stream; -1: --dropout.", minimum=-1, maximum=0.99)
    fusion_weights: tuple[float, ...] = setting(
        (1.0, 1.0), "Weights of spatial, temporal logits when fused.", minimum=0
    )
    fusion_features: bool = setting(True, "Add a classifier on both streams' features to the fused logits.")

    def __post_init__(self):
        super().__post_init__()
        if self.frames_per_segment not in (1, self.flow_length):
            raise UserError(
                f"--frames_per_segment must be 1 or --flow_length, {self.flow_length}. Received: "
                f"{self.frames_per_segment}."
            )
        if self.consensus == "trn" and not 2 <= self.num_segments <= 16:
            raise UserError(f"--consensus=trn relates 2 to 16 segments. Received: --num_segments={self.num_segments}.")
        if len(self.fusion_weights) != 2:
            raise UserError(f"--fusion_weights needs two numbers, as in 1,1.5. Received: {self.fusion_weights}.")
        if not self.fusion_features and not any(self.fusion_weights):
            raise UserError("--fusion_weights=0,0 with --nofusion_features leaves nothing to fuse: switch one part on.")
        if self.learnable_flow and self.flow_source != "graph":
            raise UserError("--learnable_flow trains flow that the model computes: pass --flow_source=graph as well.")


@dataclasses.dataclass(frozen=True)
class LossConfig(_Checked):
    """Weights and form of the joint loss (METHOD: Losses)."""

    weight_spatial: float = setting(1.0, "w_s: weight of the spatial cross-entropy.", minimum=0)
    weight_temporal: float = setting(1.0, "w_m: weight of the temporal cross-entropy.", minimum=0)
    weight_fused: float = setting(1.0, "w_f: weight of the fused cross-entropy.", minimum=0)
    lambda_intra: float = setting(0.5, "Weight of the ranking within each modality.", minimum=0)
    lambda_inter: float = setting(0.5, "Weight of the ranking across modalities.", minimum=0)
    intra: str = setting("ranking", "Form of the intra-modality term.", choices=("ranking", "centre", "both"))
    distance: str = setting("euclidean", "Distance between embeddings.", choices=("euclidean", "squared"))
    mining: str = setting("batch_hard", "Which triplets count.", choices=("batch_hard", "semi_hard", "all"))
    margin: float = setting(0.3, "Margin of the ranking.", minimum=0)
    soft_margin: bool = setting(False, "log(1 + exp(.)) in place of the margin.")
    label_smoothing: float = setting(0.0, "Label smoothing of the cross-entropies.", minimum=0.0, maximum=0.9)


@dataclasses.dataclass(frozen=True)
class TrainConfig(_Checked):
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


@dataclasses.dataclass(frozen=True)
class EvalConfig(_Checked):
    """The test protocol (TSN's: views of segments x crops, scores averaged)."""

    test_on: str = setting(
        "test",
        "Clips that are tested: the split's, or the training groups that --holdout_groups keeps back.",
        ("test", "holdout"),
    )
    test_segments: int = setting(25, "Segments a test clip.", minimum=1)
    test_crops: int = setting(
        1,
        "Crops a segment: centre, 3 along the long side, 5 (centre and corners), 10 (mirrored too).",
        choices=(1, 3, 5, 10),
    )
    average: str = setting("logits", "What is averaged over crops.", choices=("logits", "probabilities"))
    top_k: int = setting(5, "Classes printed for a predicted video.", minimum=1)

    @property
    def side(self) -> str:
        """The side of the split that the tested clips are on: "test" or "train"."""
        return "test" if self.test_on == "test" else "train"


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of a run."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()

    def __post_init__(self):
        if self.data.dataset == "demo" and self.data.flip and not self.data.mirror_pairs:
            raise UserError(
                "--flip would turn left into right, which are classes of the demo set: pass --noflip, or "
                "--mirror_pairs=MarkedMovesLeft:MarkedMovesRight."
            )
        sides_matter = not self.data.flip or self.data.mirror_pairs or self.data.dataset == "sthv2"
        if self.eval.test_crops == 10 and sides_matter:
            raise UserError(
                "--test_crops=10 scores mirrored clips, but --noflip, --mirror_pairs or --dataset=sthv2 say that a "
                "mirror changes the class: pass --test_crops=5."
            )
        ranks = self.loss.lambda_intra or self.loss.lambda_inter
        if ranks and self.data.sampler == "balanced" and self.data.clips_per_class < 2:
            raise UserError(
                "--clips_per_class=1 leaves no positive pair to rank: raise it, or set --lambda_intra=0 and "
                "--lambda_inter=0."
            )
        if self.data.flow == "none" and self.model.flow_source != "graph":
            raise UserError("--flow=none leaves the temporal stream without flow: pass --flow_source=graph as well.")
        if self.data.flow_stride > 1 and self.model.flow_source == "graph":
            raise UserError(
                f"--flow_source=graph needs frames that follow one another, and --flow_stride={self.data.flow_stride} "
                "leaves some out: prepare with --flow_stride=1."
            )
        segments = self.model.num_segments
        if self.model.consensus == "trn" and self.eval.test_segments != segments:
            raise UserError(
                f"--consensus=trn relates the {segments} segments that it is trained with, not "
                f"{self.eval.test_segments}: pass --test_segments={segments}."
            )
        train = self.train
        if train.frozen_cache and not train.freeze_spatial == train.freeze_temporal != "":
            raise UserError(
                "--frozen_cache keeps what both streams make up to the same stage: pass --freeze_spatial and "
                f"--freeze_temporal alike. Received: {train.freeze_spatial!r} and {train.freeze_temporal!r}."
            )
        if train.frozen_cache and self.model.learnable_flow:
            raise UserError("--learnable_flow trains what --frozen_cache would keep: leave one of them out.")
        for flag, side in (("validate_on", self.train.validate_on), ("test_on", self.eval.test_on)):
            if side == "holdout" and not self.data.holdout_groups:
                raise UserError(f"--{flag}=holdout needs --holdout_groups of at least 1.")

    @classmethod
    def from_flat(cls, values: dict) -> Config:
        """Builds a config from {field name: value} of any of the groups; lists become tuples."""
        groups = {}
        for group in dataclasses.fields(cls):
            names = [field.name for field in dataclasses.fields(group.default)]
            groups[group.name] = type(group.default)(
                **{name: _frozen(values[name]) for name in names if name in values}
            )
        unknown = set(values) - {field.name for _, field in settings()}
        if unknown:
            raise UserError(f"Unknown setting {', '.join(sorted(unknown))}: written by another version of ccsn_tf?")
        return cls(**groups)

    def flat(self) -> dict:
        """{field name: value} over all groups."""
        return {field.name: getattr(getattr(self, group), field.name) for group, field in settings()}

    def replace(self, **values) -> Config:
        """A copy with the named fields changed, whichever group they are in."""
        return Config.from_flat({**self.flat(), **values})

    def differences(self, other: Config) -> list[str]:
        """Names of the fields that a trained model depends on and that differ from `other`'s."""
        mine, theirs = self.flat(), other.flat()
        return [name for name in mine if name not in UNBOUND and mine[name] != theirs[name]]

    def to_json(self) -> str:
        """Pretty JSON, grouped; `from_json` reads it back."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, path: str | pathlib.Path) -> Config:
        """Reads config.json.

        Raises:
            UserError: the file is absent or not one of ours.
        """
        try:
            groups = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
            return cls.from_flat({name: value for group in groups.values() for name, value in group.items()})
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"{path} is missing: give the --workdir of a training run.") from None
        except (json.JSONDecodeError, UnicodeDecodeError, AttributeError, TypeError) as error:
            raise UserError(f"{path} is not a configuration written by train.py ({error}).") from None


def settings() -> list[tuple[str, dataclasses.Field]]:
    """Every setting as (group name, field), in order."""
    return [(group.name, field) for group in dataclasses.fields(Config) for field in dataclasses.fields(group.default)]


def flag_text(value) -> object:
    """A setting's value as one writes it on the command line."""
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else value


def _frozen(value):
    return tuple(value) if isinstance(value, list) else value
