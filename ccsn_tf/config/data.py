"""Settings of the data."""

from __future__ import annotations

import dataclasses

from ccsn_tf.config.setting import Checked, setting
from ccsn_tf.errors import UserError


@dataclasses.dataclass(frozen=True)
class DataConfig(Checked):
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
        (32, 16, 20), "TV-L1 in the graph: inner iterations a warp, the finest level first.", minimum=1
    )
    tvl1_lambda: float = setting(0.15, "TV-L1 in the graph: weight of the data, for grey values 0-255.", minimum=1e-3)
    tvl1_theta: float = setting(0.3, "TV-L1 in the graph: tightness, in pixels squared.", minimum=1e-3)
    tvl1_medians: int = setting(1, "TV-L1 in the graph: 3x3 medians of the field after each warp.", minimum=0)
    tvl1_smooth: bool = setting(True, "TV-L1 in the graph: smooth the images first.")
    tvl1_carry: bool = setting(True, "TV-L1 in the graph: keep dual fields from level to level.")
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
            "carry": self.tvl1_carry,
        }
