"""Settings of the network."""

from __future__ import annotations

import dataclasses

from ccsn_tf.config.setting import Checked, setting
from ccsn_tf.errors import UserError


@dataclasses.dataclass(frozen=True)
class ModelConfig(Checked):
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
