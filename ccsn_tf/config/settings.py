"""Every setting, one field each: a field of a frozen dataclass, checked when it is made, and a flag of the same name.

The five groups have no field name in common, so that a flag file is a flat list.
"""

import dataclasses
import math
import warnings

from ccsn_tf.errors import UserError

# Names to choose from. `register_backbone`, `register_connection` and `register_dataset` add to them.
BACKBONES = ["tiny", "efficientnet_lite0", "bn_inception", "resnet50"]
DATASETS = ["ucf101", "hmdb51", "sthv2", "folder", "list", "demo"]
CONNECTIONS = ["none", "sum", "product", "concat", "shared_affinity", "nonlocal", "cross_attention"]
STREAMS = ("spatial", "temporal")
PREDICTIONS = (*STREAMS, "fused")


def register(kind: str, name: str, value, registered: dict, choices: list[str]) -> None:
    """Puts a value of this kind among the registered ones, and its name among the choices of a setting.

    A name that is taken is replaced, with a warning: a notebook's cell can be run twice.
    """
    if name in registered:
        warnings.warn(f"The {kind} {name!r} is replaced by {value!r}.", stacklevel=3)
    else:
        choices.append(name)
    registered[name] = value


def setting(default, help, choices=None, minimum=None, maximum=None):
    """A dataclass field that is also a flag: `choices` and the range are checked when the config is made."""
    metadata = {"help": help, "choices": choices, "minimum": minimum, "maximum": maximum}
    return dataclasses.field(default=default, metadata=metadata)


class Checked:
    """Base of a group of settings."""

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
class DataConfig(Checked):
    """Where the clips are, what is stored of them, and how a training batch is drawn."""

    dataset: str = setting(
        "ucf101",
        f"Layout of --video_dir (docs/DATASETS.md): {', '.join(DATASETS)}, or one that --plugins registers.",
        choices=DATASETS,
    )
    video_dir: str = setting("", "Folder of the videos: <class>/<video> (folder: also train/<class>/, test/<class>/).")
    split_dir: str = setting("", "ucf101, hmdb51, sthv2: folder of the publisher's lists.")
    train_list: str = setting("", "list: text file of the training clips, '<path> <label>' a line.")
    test_list: str = setting("", "list: that of the test clips; empty: --test_fraction of the others.")
    class_file: str = setting("", "list: names of the classes, one a line, from label 0.")
    split: int = setting(1, "Which train/test split.", minimum=1)
    classes: tuple[str, ...] = setting((), "Only these classes, in this order (comma-separated); empty: all.")
    train_clips: int = setting(0, "Training clips per class, for trials with few; 0: all.", minimum=0)
    record_dir: str = setting("", "Folder of the prepared records.")
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
    dis_preset: str = setting("fast", "DIS preset (docs/FLOW.md).", choices=("ultrafast", "fast", "medium"))
    dis_finest_scale: int = setting(1, "DIS: finest pyramid level, 0 is full resolution.", minimum=0, maximum=4)
    flow_side: int = setting(
        128, "Flow is computed and stored at this short side, where frames have a longer one; 0: at theirs.", minimum=0
    )
    flow_stride: int = setting(1, "Store every this many frames, each with the flow to the frame after it.", minimum=1)
    flow_bound: float = setting(20.0, "Flow is clipped to +- this many pixels and stored in 8 bits.", minimum=1.0)
    jpeg_quality: int = setting(95, "JPEG quality of stored frames and flow fields.", minimum=50, maximum=100)
    workers: int = setting(0, "Processes that prepare videos; 0: one a core.", minimum=0)
    stall_seconds: float = setting(60.0, "A video that yields no frame for as long is skipped, in seconds.", minimum=1)
    runner: str = setting(
        "local",
        "Who prepares: this machine, or a runner of Apache Beam, whose machines all mount videos and record folder.",
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
    folds: int = setting(5, "Parts that --fold counts.", minimum=2)
    fold: int = setting(
        0,
        "Cross-validation: keep this part of the training groups, 1 to --folds, from training, and test on it; 0: test "
        "on the split's test clips.",
        minimum=0,
    )

    def __post_init__(self):
        super().__post_init__()
        if self.fold > self.folds:
            raise UserError(f"--fold={self.fold} is more than --folds={self.folds}: lower it.")
        if self.crop == "corners" and not self.crop_scales:
            raise UserError("--crop=corners needs --crop_scales, as in --crop_scales=1,0.875,0.75,0.66.")
        for pair in self.mirror_pairs:
            if len({name for name in pair.split(":") if name}) != 2 or pair.count(":") != 1:
                raise UserError(f"--mirror_pairs must be pairs of classes, as in Left:Right. Received: {pair}.")

    @property
    def batch_size(self) -> int:
        """Clips in a global batch, P x Q."""
        return self.classes_per_batch * self.clips_per_class


@dataclasses.dataclass(frozen=True)
class ModelConfig(Checked):
    """The two-stream network (METHOD: Streams, Connection block, Heads)."""

    backbone: str = setting(
        "tiny",
        f"{', '.join(BACKBONES)}, one that --plugins registers, or applications:<keras.applications class>.",
    )
    plugins: tuple[str, ...] = setting(
        (), "Python files that register backbones, connection blocks or data sets of your own (docs/API.md)."
    )
    pretrained: str = setting("none", "Weights both streams start from.", choices=("none", "imagenet"))
    connection: str = setting(
        "cross_attention",
        f"How the streams are joined: {', '.join(CONNECTIONS)}, or one that --plugins registers.",
        choices=CONNECTIONS,
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
    image_size: int = setting(112, "Height and width of the network's input, in pixels.", minimum=16)
    flow_source: str = setting(
        "stored",
        "Where the temporal stream's flow comes from: the records, or frames, by TV-L1 inside the model.",
        choices=("stored", "graph"),
    )
    embedding_dim: int = setting(128, "E: width of the shared embedding space.", minimum=1)
    dropout: float = setting(0.5, "Dropout before the classifiers.", minimum=0.0, maximum=0.99)
    temporal_dropout: float = setting(-1.0, "Dropout of the temporal stream; -1: --dropout.", minimum=-1, maximum=0.99)
    fusion_weights: tuple[float, ...] = setting(
        (1.0, 1.0), "Weights of spatial, temporal logits when fused.", minimum=0
    )
    fusion_features: bool = setting(True, "Add a classifier on both streams' features to the fused logits.")

    def __post_init__(self):
        super().__post_init__()
        if self.consensus == "trn" and not 2 <= self.num_segments <= 16:
            raise UserError(f"--consensus=trn relates 2 to 16 segments. Received: --num_segments={self.num_segments}.")
        if len(self.fusion_weights) != 2:
            raise UserError(f"--fusion_weights needs two numbers, as in 1,1.5. Received: {self.fusion_weights}.")
        if not self.fusion_features and not any(self.fusion_weights):
            raise UserError("--fusion_weights=0,0 with --nofusion_features leaves nothing to fuse: switch one part on.")


@dataclasses.dataclass(frozen=True)
class LossConfig(Checked):
    """Weights and form of the joint loss (METHOD: Losses)."""

    weight_spatial: float = setting(1.0, "w_s: weight of the spatial cross-entropy.", minimum=0)
    weight_temporal: float = setting(1.0, "w_m: weight of the temporal cross-entropy.", minimum=0)
    weight_fused: float = setting(1.0, "w_f: weight of the fused cross-entropy.", minimum=0)
    fused: str = setting(
        "own",
        "What the fused cross-entropy is of: the whole fused prediction, or its classifier on both features alone.",
        choices=("sum", "own"),
    )
    lambda_intra: float = setting(0.5, "Weight of the ranking within each modality.", minimum=0)
    lambda_inter: float = setting(0.5, "Weight of the ranking across modalities.", minimum=0)
    intra: str = setting("ranking", "Form of the intra-modality term.", choices=("ranking", "centre", "both"))
    distance: str = setting("euclidean", "Distance between embeddings.", choices=("euclidean", "squared"))
    mining: str = setting("batch_hard", "Which triplets count.", choices=("batch_hard", "semi_hard", "all"))
    margin: float = setting(0.3, "Margin of the ranking.", minimum=0)
    soft_margin: bool = setting(False, "log(1 + exp(.)) in place of the margin.")
    temperature: float = setting(
        0.0, "Above 0: rank by a contrastive loss of this temperature (0.1) in place of triplets.", minimum=0
    )
    label_smoothing: float = setting(0.0, "Label smoothing of the cross-entropies.", minimum=0.0, maximum=0.9)


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
    lr_mults: tuple[str, ...] = setting(
        (),
        "Learning rates of single weights, as in 'connection:10,temporal/:2,bias$:2': a regular expression searched in "
        "a weight's name (stream/stage/layer/weight), and a factor; factors of several matches multiply, 0 freezes.",
    )
    feature_cache: str = setting(
        "",
        "Folder for the features of the stages that --lr_mults freezes in both streams: they are computed once per "
        "clip and view, and the rest is trained on them (docs/METHOD.md).",
    )
    cached_views: int = setting(8, "With --feature_cache: training views per clip that are kept.", minimum=1)
    ema: float = setting(0.0, "Momentum of the averaged weights that are kept; 0: the last ones.", minimum=0, maximum=1)
    init_spatial: str = setting("", "Finished run whose spatial stream this one starts from.")
    init_temporal: str = setting("", "Finished run whose temporal stream this one starts from.")
    precision: str = setting("float32", "Compute dtype policy.", choices=("float32", "mixed_bfloat16", "mixed_float16"))
    strategy: str = setting("auto", "tf.distribute strategy.", choices=("auto", "single", "mirrored", "multiworker"))
    seed: int = setting(0, "Seed of weights, batches, crops and dropout.", minimum=0)
    deterministic: bool = setting(False, "Deterministic TensorFlow operations.")
    validate_on: str = setting("test", "Clips measured while training.", choices=("none", "test"))
    validate_every: int = setting(1, "Epochs between two validations.", minimum=1)
    checkpoint_minutes: float = setting(10.0, "Minutes between checkpoints inside an epoch.", minimum=0)


@dataclasses.dataclass(frozen=True)
class EvalConfig(Checked):
    """The test protocol (TSN's: views of segments x crops, scores averaged)."""

    test_segments: int = setting(25, "Segments a test clip.", minimum=1)
    test_crops: int = setting(
        1,
        "Crops a segment: centre, 3 along the long side, 5 (centre and corners), 10 (mirrored too).",
        choices=(1, 3, 5, 10),
    )
    average: str = setting("logits", "What is averaged over crops.", choices=("logits", "probabilities"))
    unknown_classes: tuple[str, ...] = setting(
        (),
        "evaluate.py: classes of the records that the model does not know, to see how well they are rejected "
        "(docs/WATCH.md).",
    )
    top_k: int = setting(5, "Classes printed for a predicted video.", minimum=1)
