"""The Cooperative Cross-Stream Network as a functional Keras model."""

from collections.abc import Sequence

import keras

from ccsn_tf.config.settings import STREAMS, DataConfig
from ccsn_tf.errors import UserError, at_least_0, check_choice, check_whole, class_names
from ccsn_tf.models.backbones import build_backbone
from ccsn_tf.models.backbones.backbone import Backbone, for_flow, split_into_stages
from ccsn_tf.models.connections import connection_config, connection_maker
from ccsn_tf.models.connections.attention import POSITION_BIASES
from ccsn_tf.models.connections.block import ConnectionBlock
from ccsn_tf.models.flow import TVL1Flow
from ccsn_tf.models.heads import consensus_of, heads
from ccsn_tf.models.inputs import (
    BlankImages,
    FoldSegments,
    UnfoldSegments,
    check_inputs,
    frame_inputs,
    normalized,
    stored_inputs,
)
from ccsn_tf.models.train_step import TwoStreamModel
from ccsn_tf.models.weights import initialise_temporal_from_spatial, load_imagenet, load_weights_file


@keras.saving.register_keras_serializable("ccsn_tf")
class CCSN(TwoStreamModel):
    """Two-stream action recogniser with connection blocks (Zhang et al., arXiv 1908.10136; choices: docs/METHOD.md).

    Args:
        classes: class names in label order, or their number.
        backbone: of both streams, with weights of their own: a name (see `build_backbone`), a `Backbone` for RGB (the
            temporal stream gets a copy for 2L channels), or a function of (image_size, in_channels) that returns one.
        connection: how the streams are joined: a name (see `register_connection`), None for not at all, a
            `ConnectionBlock` subclass or instance, or a function that returns one.
        weights: that both streams start from: None (random; of a `Backbone`, its own), "imagenet", or the path of a
            weights file that such a model has saved.
        connect_at: names of stages after which the streams are joined; empty: the backbone's default.
        position: position bias of "cross_attention": "distance", "mlp" or "none".
        attention_heads: heads of the attention kinds.
        connection_dropout: see `ConnectionBlock`.
        span: "segment" (attention within a segment) or "clip" (over all its segments).
        consensus: how a clip's segments become one feature: "mean", or "trn" (`TemporalRelation`).
        num_segments: K that consensus "trn" is made for; with "mean" any K will do.
        flow_length: L, flow fields per segment.
        flow_source: "stored" (flow is an input) or "graph" (frames are, and flow is computed from them).
        flow: the `TVL1Flow` that computes it; None: with its defaults.
        flow_bound: b of `QuantizedFlow`, in pixels of the stored size: "graph" only.
        flow_scale: s of `QuantizedFlow`; None: that of frames stored with the default `short_side`, 256 pixels.
        image_size: S, side of the input in pixels; None: a `Backbone`'s own, else 112.
        embedding_dim: E, width of the shared embedding space.
        dropout: rate before the classifiers.
        temporal_dropout: rate of the temporal stream's feature; negative: `dropout`.
        fusion_weights: weights of the spatial and temporal logits in the fused ones.
        fusion_features: add a classifier on both streams' features to the fused logits.
        name: the model's name.
        trainable: of all layers at once.

    Call arguments:
        {"rgb": uint8 (B, K, S, S, 3), "flow": uint8 (B, K, S, S, 2L)}: any K, unless `consensus="trn"`. Flow as stored
        (METHOD, Streams): channels x1, y1, x2, y2, ..., 127.5 is no motion. With `flow_source="graph"`:
        {"frames": uint8 (B, K, L + 1, S, S, 3)}.

    Returns:
        float32 {"logits", "spatial_logits", "temporal_logits"}: (B, classes), and {"spatial_embedding",
        "temporal_embedding"}: (B, E), of unit length.

    Raises:
        UserError (a ValueError): an argument that cannot be used, or inputs that are missing or not uint8.

    Example:
        model = CCSN(classes=["archery", "basketball"], backbone="tiny", image_size=64)
        outputs = model({"rgb": np.zeros((1, 3, 64, 64, 3), "uint8"), "flow": np.zeros((1, 3, 64, 64, 10), "uint8")})
    """

    def __init__(
        self,
        classes: Sequence[str] | int,
        backbone="tiny",
        connection="cross_attention",
        weights: str | None = None,
        connect_at: Sequence[str] = (),
        position="distance",
        attention_heads=4,
        connection_dropout=0.0,
        span="segment",
        consensus="mean",
        num_segments=3,
        flow_length=5,
        flow_source="stored",
        flow: TVL1Flow | None = None,
        flow_bound=20.0,
        flow_scale: float | None = None,
        image_size: int | None = None,
        embedding_dim=128,
        dropout=0.5,
        temporal_dropout=-1.0,
        fusion_weights: Sequence[float] = (1.0, 1.0),
        fusion_features=True,
        name="ccsn",
        trainable=True,
    ):
        arguments = {key: value for key, value in locals().items() if key not in ("self", "__class__")}
        classes = class_names(classes)
        check_choice("position", position, POSITION_BIASES)
        check_choice("span", span, ("segment", "clip"))
        check_choice("consensus", consensus, ("mean", "trn"))
        check_choice("flow_source", flow_source, ("stored", "graph"))
        check_whole("attention_heads", attention_heads, 1)
        check_whole("num_segments", num_segments, *((2, 16) if consensus == "trn" else (1,)))
        check_whole("flow_length", flow_length, 1)
        check_whole("embedding_dim", embedding_dim, 1)
        fusion_weights = [at_least_0("fusion_weights", weight) for weight in fusion_weights]
        if len(fusion_weights) != 2:
            raise UserError(f"`fusion_weights` must be two numbers. Received: {fusion_weights}.")
        if not fusion_features and not any(fusion_weights):
            raise UserError("`fusion_weights` of 0 without `fusion_features` leave nothing to fuse: pass one of them.")
        if flow is not None and not isinstance(flow, TVL1Flow):
            raise UserError(f"`flow` must be a TVL1Flow, or None. Received: {flow!r}.")
        if image_size is not None:
            check_whole("image_size", image_size, 1)
        backbones, image_size = _backbones(backbone, image_size, 2 * flow_length)
        stages = list(backbones["spatial"].stages)
        chosen = (connect_at,) if isinstance(connect_at, str) else tuple(connect_at)
        connect_at = chosen or backbones["spatial"].default_connect_at
        unknown = [stage for stage in connect_at if stage not in stages]
        if unknown:
            raise UserError(
                f"`connect_at` names {', '.join(unknown)}, which the backbone does not have: choose among "
                f"{', '.join(stages)}."
            )
        make_block = connection_maker(connection, dropout=connection_dropout, heads=attention_heads, position=position)

        segments = num_segments if consensus == "trn" else None
        flow_scale = DataConfig.short_side / image_size if flow_scale is None else flow_scale
        for key, value in (("flow_bound", flow_bound), ("flow_scale", flow_scale)):
            if not 0 < value < float("inf"):
                raise UserError(f"`{key}` must be a finite number above 0. Received: {value}.")
        if flow_source == "graph":
            flow = TVL1Flow.from_config({**(flow or TVL1Flow()).get_config(), "name": "temporal_flow"})
            inputs, seen = frame_inputs(segments, image_size, flow_length, flow, flow_bound, flow_scale)
        else:
            inputs = seen = stored_inputs(segments, image_size, flow_length)
        clips = [seen["rgb"], seen["flow"]]
        ends = normalized(*clips, backbones["spatial"].normalization)
        parts = {stream: split_into_stages(backbones[stream], stream) for stream in STREAMS}
        maps, blocks = {}, []
        for stage in stages:
            ends = maps[stage] = tuple(parts[stream][stage](end) for stream, end in zip(STREAMS, ends, strict=True))
            if make_block and stage in connect_at:
                _refuse_unlike_maps(*ends, stage)
                blocks.append(make_block(f"connection_{stage}"))
                ends = _connect(blocks[-1], *ends, span, clips[0], stage)

        features = {
            stream: consensus_of(end, clip, stream, consensus)
            for stream, end, clip in zip(STREAMS, ends, clips, strict=True)
        }
        rates = {"spatial": dropout, "temporal": dropout if temporal_dropout < 0 else temporal_dropout}
        outputs = heads(features, len(classes), embedding_dim, rates, tuple(fusion_weights), fusion_features)
        # Nothing else is passed on: Keras would take a misspelt argument without a word.
        super().__init__(inputs=inputs, outputs=outputs, name=name, trainable=trainable)
        # Closures, because Keras would track the networks a second time as attributes.
        self._streams = lambda: (backbones, parts)
        self._graph = lambda: (inputs, maps, clips, outputs)
        self._blocks = lambda: blocks
        self._arguments = lambda: {
            **arguments,
            "classes": list(classes),
            "connect_at": list(connect_at),
            "weights": None,
            "flow": flow,
            "flow_scale": flow_scale,
            "image_size": image_size,
            "fusion_weights": list(fusion_weights),
        }
        self.classes = list(classes)
        if weights == "imagenet":
            load_imagenet(backbone, self.network("spatial"))
        elif weights:
            load_weights_file(self, weights)
        if weights == "imagenet" or (isinstance(backbone, Backbone) and not weights):
            initialise_temporal_from_spatial(self.network("spatial"), self.network("temporal"))

    def __call__(self, inputs, *args, **kwargs):
        check_inputs(inputs, self._graph()[0])
        return super().__call__(inputs, *args, **kwargs)

    def network(self, stream: str) -> keras.Model:
        """The backbone network of "spatial" or "temporal", which shares its layers with this model."""
        return self._streams()[0][stream].network

    def stages(self, stream: str) -> dict[str, keras.Model]:
        """The stages of that network by name, in order; they share its layers, too."""
        return self._streams()[1][stream]

    @property
    def connection_blocks(self) -> list[ConnectionBlock]:
        """The connection blocks, in order; empty with `connection=None`."""
        return list(self._blocks())

    def split_at(self, stage: str) -> tuple[dict[str, keras.Function], TwoStreamModel]:
        """The model cut after a stage, before a connection block there; both parts share its layers.

        Returns:
            The stages up to it, {stream: function from the model's inputs to the stream's maps (B*K, h, w, C)}; the
            top, a model from {"spatial", "temporal"}: maps (B, K, h, w, C) to the model's outputs, to be trained alike.

        Raises:
            UserError: the backbone has no such stage, or a connection block joins the streams at an earlier one.
        """
        order, joined = list(self.stages("spatial")), self._arguments()["connect_at"]
        if stage not in order:
            raise UserError(f"The backbone has no stage {stage}: choose among {', '.join(order)}.")
        earlier = [name for name in joined if order.index(name) < order.index(stage)]
        if earlier and self.connection_blocks:
            raise UserError(
                f"The streams are joined at {', '.join(earlier)}, before {stage}: freeze less, or pass `connect_at` "
                f"{stage} or a later stage."
            )
        images, maps, clips, outputs = self._graph()
        bottom, inputs, folded, blank = {}, {}, [], []
        for stream, end, clip in zip(STREAMS, maps[stage], clips, strict=True):
            bottom[stream] = keras.Function(images, end)
            inputs[stream] = keras.Input((clip.shape[1], *end.shape[1:]), name=stream, dtype=end.dtype)
            folded.append(FoldSegments(name=f"fold_{stream}_maps", dtype=self.dtype_policy)(inputs[stream]))
            # Of the clips, only the number of segments is used.
            blank.append(BlankImages(clip.shape[2:], name=f"{stream}_blank")(inputs[stream]))
        outputs = keras.Function([*maps[stage], *clips], outputs).call([*folded, *blank])
        return bottom, TwoStreamModel(inputs, outputs, name=f"{self.name}_from_{stage}")

    def get_config(self):
        config = {**self._arguments(), "name": self.name, "trainable": self.trainable}
        config["connection"] = connection_config(config["connection"], self.connection_blocks)
        if not isinstance(config["backbone"], str):
            config["backbone"] = self._streams()[0]["spatial"].get_config()
        config["flow"] = keras.saving.serialize_keras_object(config["flow"])
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        config["flow"] = keras.saving.deserialize_keras_object(config["flow"])
        if isinstance(config["backbone"], dict):
            config["backbone"] = Backbone.from_config(config["backbone"])
        return cls(**config)


def _backbones(backbone, image_size, flow_channels):
    """The streams' backbones, and the side of their input in pixels."""
    if isinstance(backbone, Backbone):
        own = backbone.network.input_shape[1:3]
        if own != (image_size or own[0],) * 2:
            raise UserError(f"`backbone` has an input of {own[0]}x{own[1]} pixels: pass `image_size` accordingly.")
        return {"spatial": backbone, "temporal": for_flow(backbone, flow_channels)}, own[0]
    image_size = image_size or 112

    if isinstance(backbone, keras.layers.Layer):
        raise UserError(f"`backbone` {backbone.name} is a network: pass a Backbone of it, which names its stages.")

    def build(channels):
        if not callable(backbone):
            return build_backbone(backbone, image_size, channels)
        built = backbone((image_size, image_size), channels)
        if not isinstance(built, Backbone):
            raise UserError(f"`backbone` {backbone!r} returns a {type(built).__name__}, not a Backbone.")
        return built

    return {"spatial": build(3), "temporal": build(flow_channels)}, image_size


def _refuse_unlike_maps(spatial, temporal, stage):
    """Raises UserError where the streams' maps cannot be joined: a backbone's size may follow from its channels."""
    sizes = ["x".join(map(str, maps.shape[1:])) for maps in (spatial, temporal)]
    if sizes[0] != sizes[1]:
        raise UserError(
            f"`connect_at` {stage}: the maps of the streams' `backbone` differ there, {sizes[0]} (spatial) and "
            f"{sizes[1]} (temporal): choose another stage, or none for `connection`."
        )


def _connect(block, spatial, temporal, span, reference, stage):
    if span == "segment":
        return tuple(block([spatial, temporal]))
    unfold = UnfoldSegments(name=f"unfold_{stage}")
    joined = block([unfold([spatial, reference]), unfold([temporal, reference])])
    fold = FoldSegments(name=f"fold_{stage}")
    return tuple(fold(maps) for maps in joined)
