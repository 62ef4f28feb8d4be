"""Parameters and multiply-accumulates of each part of the network, by backbone, counted from the layers' shapes."""

import dataclasses
import math

import keras
from absl import flags
from keras import layers

from ccsn_tf.config import Config, ModelConfig
from ccsn_tf.models.build import build_model
from ccsn_tf.models.connections.attention import CrossAttention, SharedAffinityConnection
from ccsn_tf.models.connections.block import ConnectionBlock
from ccsn_tf.models.heads import TemporalRelation

BACKBONES = ("tiny", "efficientnet_lite0", "bn_inception", "resnet50")
STREAMS = ("spatial", "temporal")
PARTS = (*STREAMS, "connection", "heads")
_CLASSES = 101  # UCF101's; --classes counts instead


def define_flags() -> None:
    """The benchmark's own options."""
    flags.DEFINE_multi_string(
        "count_backbone", [], f"model: a backbone to count. May be repeated; default: {', '.join(BACKBONES)}."
    )


def run(config: Config, options) -> dict:
    """Counts the network that the flags describe, with one backbone after the other.

    Returns:
        {"image_size", "connection", "rows": [{"backbone", "parameters": {part: int, "total": int}, "macs": the same}]}.
        Parameters are the trained ones; MACs are those of one segment.

    Raises:
        UserError: an unknown name, or an image that a backbone cannot take.
    """
    count = len(config.data.classes) or _CLASSES
    rows = [
        count_model(dataclasses.replace(config.model, backbone=name, pretrained="none"), count)
        for name in options.count_backbone or BACKBONES
    ]
    return {"image_size": config.model.image_size, "connection": config.model.connection, "rows": rows}


def table(report: dict) -> str:
    """The report as Markdown."""
    size, columns = report["image_size"], [*PARTS, "all"]
    lines = [
        f"{size} px, --connection={report['connection']}: trained parameters, then MACs per segment, in millions.",
        "",
        f"| backbone | {' | '.join(columns)} | {' | '.join(f'MACs: {part}' for part in columns)} |",
        "|---" * (1 + 2 * len(columns)) + "|",
    ]
    for row in report["rows"]:
        cells = [f"{row[kind][part] / 1e6:,.2f}" for kind in ("parameters", "macs") for part in (*PARTS, "total")]
        lines.append(f"| {row['backbone']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def count_model(config: ModelConfig, num_classes: int) -> dict:
    """A row of the report."""
    model = build_model(config, [str(number) for number in range(num_classes)])
    blocks = [layer for layer in model.layers if isinstance(layer, ConnectionBlock)]
    heads = [layer for layer in model.layers if isinstance(layer, (layers.Dense, TemporalRelation))]
    members = {
        **{stream: [op for op in model.network(stream).operations if hasattr(op, "weights")] for stream in STREAMS},
        "connection": blocks,
        "heads": heads,
    }
    parameters = {part: sum(map(trained_parameters, members[part])) for part in PARTS}
    macs = {part: sum(map(macs_of_layer, members[part])) for part in (*STREAMS, "heads")}
    seen = config.num_segments if config.span == "clip" else 0
    macs["connection"] = sum(macs_of_connection(block, seen) for block in blocks)
    return {
        "backbone": config.backbone,
        "parameters": {**parameters, "total": sum(parameters.values())},
        "macs": {**macs, "total": sum(macs.values())},
    }


def trained_parameters(layer: keras.layers.Layer) -> int:
    """Numbers that training changes: no running statistics."""
    return sum(math.prod(weight.shape) for weight in layer.trainable_weights)


def macs_of_layer(layer: keras.layers.Layer) -> int:
    """Multiply-accumulates of a convolution, dense layer or relations for one image or clip; 0 for other layers."""
    if isinstance(layer, layers.SeparableConv2D):
        kernels = [layer.depthwise_kernel, layer.pointwise_kernel]
    elif isinstance(layer, (layers.Conv1D, layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)):
        kernels = [layer.kernel]
    elif isinstance(layer, TemporalRelation):
        counts = [layer.input.shape[1], *map(len, layer.subsets.values())]
        parts = [layer.feature, *layer.relations]
        return sum(count * math.prod(part.kernel.shape) for count, part in zip(counts, parts, strict=True))
    else:
        return 0
    positions = math.prod(layer.output.shape[1:-1])
    return sum(math.prod(kernel.shape) for kernel in kernels) * positions


def macs_of_connection(block: ConnectionBlock, segments: int) -> int:
    """Multiply-accumulates of a connection block per segment: its 1x1 convolutions, and attention's products.

    `segments` are those whose positions the block sees, with --span=clip; 0: its own.
    """
    shape = block.input[0].shape
    positions = math.prod(shape[2:-1] if segments else shape[1:-1])
    seen = positions * max(1, segments)
    kernels = [w for w in block.weights if w.name == "kernel" and "_bias/" not in w.path]  # the position bias is fixed
    macs = sum(math.prod(kernel.shape) for kernel in kernels) * positions
    products = {CrossAttention: 4, SharedAffinityConnection: 3}.get(type(block), 0)
    return macs + (products * positions * seen * block.width if products else 0)
