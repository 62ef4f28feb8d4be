"""The Cooperative Cross-Stream Network as a functional Keras model."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from ccsn_tf.errors import UserError
from ccsn_tf.models.backbones import build_backbone
from ccsn_tf.models.backbones.backbone import split_into_stages
from ccsn_tf.models.connections import CONNECTIONS, make_connection
from ccsn_tf.models.connections.position import POSITION_BIASES
from ccsn_tf.models.flow import TVL1Flow
from ccsn_tf.models.heads import consensus_of, heads
from ccsn_tf.models.inputs import checked_frames, frame_inputs, normalized, stored_inputs
from ccsn_tf.models.layers import BlankImages, FoldSegments, UnfoldSegments
from ccsn_tf.models.train_step import JointTraining

STREAMS = ("spatial", "temporal")


@keras.saving.register_keras_serializable("ccsn_tf")
class CCSN(JointTraining, keras.Model):
    """Two-stream action recogniser with connection blocks (Zhang et al., arXiv 1908.10136; choices: docs/METHOD.md).

    Args:
        classes: class names, in label order.
        backbone: see `build_backbone`; both streams have it, with weights of their own.
        connection: kind of connection block, one of `CONNECTIONS`.
        connect_at: names of stages after which the streams are joined; empty: the backbone's default.
        position: position bias of "cross_attention": "distance", "mlp" or "none".
        attention_heads: heads of the attention kinds.
        connection_dropout: see `ConnectionBlock`.
        span: "segment" (attention within a segment) or "clip" (over all its segments).
        consensus: how a clip's segments become one feature: "mean", or "trn" (`TemporalRelation`).
        num_segments: K that consensus "trn" is made for; with "mean" any K will do.
        flow_length: L, flow fields a segment.
        frames_per_segment: F, RGB frames a segment: L for a volumetric backbone, else 1.
        flow_source: "stored" (flow is an input) or "graph" (frames are, and flow is computed from them by `TVL1Flow`).
        learnable_flow: train that layer.
        tvl1: its other arguments; None: its defaults. The model's configuration holds them all.
        flow_bound: b of `QuantizedFlow`, in pixels of the stored size: "graph" only.
        flow_scale: s of `QuantizedFlow`: "graph" only.
        image_size: S, side of the input in pixels.
        embedding_dim: E, width of the shared embedding space.
        dropout: rate before the classifiers.
        temporal_dropout: rate of the temporal stream's feature; negative: `dropout`.
        fusion_weights: weights of the spatial and temporal logits in the fused ones.
        fusion_features: add a classifier on both streams' features to the fused logits.
        name: the model's name.
        trainable: of all layers at once.

    Call arguments:
        {"rgb": uint8 (B, K, S, S, 3F), "flow": uint8 (B, K, S, S, 2L)}: any K, unless
        `consensus="trn"`. Frames one after the other in the channels; flow as stored (METHOD, Streams): channels x1,
        y1, x2, y2, ..., 127.5 is no motion. With `flow_source="graph"`: {"frames": uint8 (B, K, L + 1, S, S, 3)}.

    Returns:
        float32 {"logits", "spatial_logits", "temporal_logits"}: (B, classes), and {"spatial_embedding",
        "temporal_embedding"}: (B, E), of unit length.

    Raises:
        UserError: an unknown backbone, connection, position, span, consensus or stage, or frames that the backbone
            cannot take.

    Example:
        model = CCSN(classes=["archery", "basketball"], backbone="tiny", image_size=64)
        outputs = model({"rgb": np.zeros((1, 3, 64, 64, 3), "uint8"), "flow": np.zeros((1, 3, 64, 64, 10), "uint8")})
    """

    def __init__(
        self,
        classes: Sequence[str],
        backbone="tiny",
        connection="cross_attention",
        connect_at: Sequence[str] = (),
        position="distance",
        attention_heads=4,
        connection_dropout=0.0,
        span="segment",
        consensus="mean",
        num_segments=3,
        flow_length=5,
        frames_per_segment=1,
        flow_source="stored",
        learnable_flow=False,
        tvl1: dict | None = None,
        flow_bound=20.0,
        flow_scale=1.0,
        image_size=112,
        embedding_dim=128,
        dropout=0.5,
        temporal_dropout=-1.0,
        fusion_weights: Sequence[float] = (1.0, 1.0),
        fusion_features=True,
        name="ccsn",
        trainable=True,
    ):
        if connection not in CONNECTIONS:
            raise UserError(f"--connection must be one of {', '.join(CONNECTIONS)}. Received: {connection!r}.")
        if position not in POSITION_BIASES:
            raise UserError(f"--position must be one of {', '.join(POSITION_BIASES)}. Received: {position!r}.")
        if span not in ("segment", "clip"):
            raise UserError(f"--span must be segment or clip. Received: {span!r}.")
        if consensus not in ("mean", "trn"):
            raise UserError(f"--consensus must be mean or trn. Received: {consensus!r}.")
        if flow_source not in ("stored", "graph"):
            raise UserError(f"--flow_source must be stored or graph. Received: {flow_source!r}.")
        frames = checked_frames(backbone, frames_per_segment, flow_length, span)
        if frames and flow_source == "graph":
            raise UserError(f"--flow_source=graph does not go with --backbone={backbone}: store its flow in records.")
        backbones = {
            "spatial": build_backbone(backbone, image_size, 3, frames),
            "temporal": build_backbone(backbone, image_size, 2 if frames else 2 * flow_length, frames),
        }
        stages = list(backbones["spatial"].stages)
        joined = tuple(connect_at) or backbones["spatial"].default_connect_at
        unknown = [stage for stage in joined if stage not in stages]
        if unknown:
            raise UserError(
                f"--connect_at names {', '.join(unknown)}, which backbone {backbone} does not have: choose among "
                f"{', '.join(stages)}."
            )

        segments = num_segments if consensus == "trn" else None
        if flow_source == "graph":
            layer = TVL1Flow(**tvl1 or {}, learnable=learnable_flow, name="temporal_flow")
            tvl1 = layer.method()
            inputs, seen = frame_inputs(segments, image_size, flow_length, layer, flow_bound, flow_scale)
        else:
            inputs = seen = stored_inputs(segments, image_size, frames_per_segment, flow_length)
        spatial, temporal = normalized(seen, backbones["spatial"].normalization, frames)
        parts = {stream: split_into_stages(backbones[stream], stream) for stream in STREAMS}
        maps = {}
        for stage in stages:
            spatial, temporal = parts["spatial"][stage](spatial), parts["temporal"][stage](temporal)
            maps[stage] = (spatial, temporal)
            if connection != "none" and stage in joined:
                _refuse_unlike_maps(spatial, temporal, backbone, stage)
                block = make_connection(
                    connection, attention_heads, position, dropout=connection_dropout, name=f"connection_{stage}"
                )
                spatial, temporal = _connect(block, spatial, temporal, span, seen["rgb"], stage)

        features = {
            stream: consensus_of(maps, seen[modality], stream, consensus)
            for stream, modality, maps in (("spatial", "rgb", spatial), ("temporal", "flow", temporal))
        }
        rates = {"spatial": dropout, "temporal": dropout if temporal_dropout < 0 else temporal_dropout}
        outputs = heads(features, len(classes), embedding_dim, rates, tuple(fusion_weights), fusion_features)
        # Nothing else is passed on: Keras would take a misspelt argument without a word.
        super().__init__(inputs=inputs, outputs=outputs, name=name, trainable=trainable)
        # Closures, because Keras would track the networks a second time as attributes.
        self._network_of = lambda stream: backbones[stream].network
        self._stages_of = lambda stream: parts[stream]
        self._graph = lambda: (inputs, maps, [seen["rgb"], seen["flow"]], outputs)
        self.classes = list(classes)
        self._arguments = {
            "classes": list(classes),
            "backbone": backbone,
            "connection": connection,
            "connect_at": list(joined),
            "position": position,
            "attention_heads": attention_heads,
            "connection_dropout": connection_dropout,
            "span": span,
            "consensus": consensus,
            "num_segments": num_segments,
            "flow_length": flow_length,
            "frames_per_segment": frames_per_segment,
            "flow_source": flow_source,
            "learnable_flow": learnable_flow,
            "tvl1": tvl1,
            "flow_bound": flow_bound,
            "flow_scale": flow_scale,
            "image_size": image_size,
            "embedding_dim": embedding_dim,
            "dropout": dropout,
            "temporal_dropout": temporal_dropout,
            "fusion_weights": list(fusion_weights),
            "fusion_features": fusion_features,
        }

    def network(self, stream: str) -> keras.Model:
        """The backbone network of "spatial" or "temporal", which shares its layers with this model."""
        return self._network_of(stream)

    def stages(self, stream: str) -> dict[str, keras.Model]:
        """The stages of that network by name, in order; they share its layers, too."""
        return self._stages_of(stream)

    def halves(self, stage: str) -> tuple[dict[str, keras.Function], keras.Model]:
        """The model cut after a stage, before a connection block there; both halves share its layers.

        Returns:
            The lower half, {stream: function from the model's inputs to the stream's maps (B*K, h, w, C)}; the upper
            half, a model from {"spatial", "temporal"}: maps (B, K, h, w, C) to the model's outputs.

        Raises:
            UserError: the backbone has no such stage, or a connection block joins the streams at an earlier one.
        """
        order, joined = list(self.stages("spatial")), self._arguments["connect_at"]
        if stage not in order:
            raise UserError(f"The backbone has no stage {stage}: choose among {', '.join(order)}.")
        earlier = [name for name in joined if order.index(name) < order.index(stage)]
        if earlier and self._arguments["connection"] != "none":
            raise UserError(
                f"The streams are joined at {', '.join(earlier)}, before {stage}: freeze less, or pass --connect_at="
                f"{stage} or a later stage."
            )
        images, maps, clips, outputs = self._graph()
        lower = {stream: keras.Function(images, end) for stream, end in zip(STREAMS, maps[stage], strict=True)}
        inputs, folded, blank = {}, [], []
        for stream, end in zip(STREAMS, maps[stage], strict=True):
            inputs[stream] = keras.Input((clips[0].shape[1], *end.shape[1:]), name=stream, dtype=end.dtype)
            folded.append(FoldSegments(name=f"fold_{stream}_maps", dtype=self.dtype_policy)(inputs[stream]))
        for stream, clip in zip(STREAMS, clips, strict=True):  # of which only the number of segments is used
            blank.append(BlankImages(clip.shape[2:], name=f"{stream}_blank")(inputs[stream]))
        outputs = keras.Function([*maps[stage], *clips], outputs).call([*folded, *blank])
        return lower, keras.Model(inputs, outputs, name=f"{self.name}_from_{stage}")

    def get_config(self):
        return {**self._arguments, "name": self.name, "trainable": self.trainable}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


def _refuse_unlike_maps(spatial, temporal, backbone, stage):
    """Raises UserError where the streams' maps cannot be joined: a backbone's size may follow from its channels."""
    sizes = ["x".join(map(str, maps.shape[1:])) for maps in (spatial, temporal)]
    if sizes[0] != sizes[1]:
        raise UserError(
            f"--connect_at={stage}: the streams' maps there differ in --backbone={backbone}, {sizes[0]} (spatial) and "
            f"{sizes[1]} (temporal): choose another stage, or --connection=none."
        )


def _connect(block, spatial, temporal, span, reference, stage):
    if span == "segment":
        return block([spatial, temporal])
    unfold = UnfoldSegments(name=f"unfold_{stage}")
    joined = block([unfold([spatial, reference]), unfold([temporal, reference])])
    fold = FoldSegments(name=f"fold_{stage}")
    return tuple(fold(maps) for maps in joined)
