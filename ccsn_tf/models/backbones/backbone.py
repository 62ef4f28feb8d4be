"""A backbone: one image network, the places where it can be cut, and the pixel scaling that it expects."""

from __future__ import annotations

import dataclasses

import keras
from keras import layers, ops

from ccsn_tf.errors import UserError


@dataclasses.dataclass(frozen=True)
class Normalization:
    """Pixel scaling `(x - mean) * scale`, a part of the graph so that training, export and serving cannot differ.

    Args:
        mean: float, or a tuple with one float a channel; in pixel units (0..255).
        scale: float, or a tuple with one float a channel.
        reverse_channels: bool. RGB becomes BGR first; `mean` and `scale` are then in BGR order. Defaults to `False`.

    Raises:
        ValueError: `mean` and `scale` are for different numbers of channels.
    """

    mean: float | tuple[float, ...]
    scale: float | tuple[float, ...]
    reverse_channels: bool = False

    def __post_init__(self):
        for name in ("mean", "scale"):
            value = getattr(self, name)
            object.__setattr__(self, name, tuple(value) if isinstance(value, list) else value)  # JSON has lists only
        lengths = {len(value) for value in (self.mean, self.scale) if isinstance(value, tuple)}
        if len(lengths) > 1:
            raise ValueError(f"mean and scale must have equal lengths. Received: mean={self.mean}, scale={self.scale}")

    def apply(self, images):
        """Normalises `images`, (..., C) of any numeric dtype with values 0..255; float32 of the same shape.

        Call it inside a layer's `call`, not on the symbolic inputs of a functional model: the constants then belong to
        the traced function, which is what the ONNX conversion wants.
        """
        images = ops.cast(images, "float32")
        if self.reverse_channels:
            # A gather, because every exporter knows it; a slice of negative step is not safe there.
            images = ops.take(images, list(reversed(range(images.shape[-1]))), axis=-1)
        mean, scale = (ops.convert_to_tensor(value, dtype="float32") for value in (self.mean, self.scale))
        return (images - mean) * scale


@dataclasses.dataclass(frozen=True)
class Backbone:
    """One stream's network with named stages.

    Args:
        network: functional `keras.Model` from a normalised float image (B, H, W, C_in) to its last feature map
            (B, h, w, C).
        stages: stage name -> name of the layer (or operation, such as a bare `+`) of `network` with whose output the
            stage ends, in the order of computation. Each such layer is a cut of the graph (see `cut_layers`); the last
            one is the network's output.
        normalization: pixel scaling that the network expects of RGB images; that of flow is derived from it.
        default_connect_at: stages after which the streams are connected unless the user says otherwise.

    Raises:
        ValueError: a stage's layer is missing, the last stage is not the output, or `default_connect_at` names no
            stage.
    """

    network: keras.Model
    stages: dict[str, str]
    normalization: Normalization
    default_connect_at: tuple[str, ...]

    def __post_init__(self):
        outputs = {operation.name: operation.output for operation in self.network.operations}
        missing = [layer for layer in self.stages.values() if layer not in outputs]
        if missing or not self.stages:
            raise ValueError(f"stages must name layers of {self.network.name}. Received: {missing or self.stages}")
        if outputs[list(self.stages.values())[-1]] is not self.network.output:
            raise ValueError(f"The last stage must end at the network's output. Received: stages={self.stages}")
        unknown = [stage for stage in self.default_connect_at if stage not in self.stages]
        if unknown:
            raise ValueError(f"default_connect_at must name stages {list(self.stages)}. Received: {unknown}")

    def get_config(self) -> dict:
        """A JSON-safe form without weights, for `from_config`."""
        return {
            "network": keras.saving.serialize_keras_object(self.network),
            "stages": dict(self.stages),
            "normalization": dataclasses.asdict(self.normalization),
            "default_connect_at": list(self.default_connect_at),
        }

    @classmethod
    def from_config(cls, config: dict) -> Backbone:
        """The backbone of `get_config`, its weights random."""
        network = keras.saving.deserialize_keras_object(config["network"])
        scaling = Normalization(**config["normalization"])
        return cls(network, config["stages"], scaling, tuple(config["default_connect_at"]))


def cut_layers(network) -> dict[str, keras.KerasTensor]:
    """The layers that are cuts of a functional network, in the order of computation.

    A layer is a cut when whatever is computed after it depends on the network's input through its one output tensor
    alone. The input layer and the output layer are cuts.

    Args:
        network: functional `keras.Model` with one input and one output, which calls each of its layers once.

    Returns:
        dict of layer name -> its symbolic output.

    Raises:
        ValueError: a layer is called more than once.
    """
    operations = network.operations  # parents always precede their children
    producer = {id(out): i for i, operation in enumerate(operations) for out in keras.tree.flatten(operation.output)}
    last_reader = [0] * len(operations)
    for i, operation in enumerate(operations):
        for tensor in keras.tree.flatten(operation.input):
            if id(tensor) not in producer:
                raise ValueError(f"Layer {operation.name!r} of {network.name} reads a layer that is called twice")
            last_reader[producer[id(tensor)]] = i
    cuts, furthest = {}, 0
    for i, operation in enumerate(operations):
        # Nothing computed earlier is still to be read once this layer has run: all that follows goes through it.
        if furthest <= i and not isinstance(operation.output, list):
            cuts[operation.name] = operation.output
        furthest = max(furthest, last_reader[i])
    return cuts


def split_into_stages(backbone: Backbone, prefix: str) -> dict[str, keras.Model]:
    """One functional model a stage; applied one after the other they are the network.

    The models share the network's layers, so weights set or trained in one are those of the other. The shapes of the
    feature maps are the models' `output_shape`, (None, h, w, C).

    Args:
        backbone: `Backbone`.
        prefix: string in front of the models' names, f"{prefix}_{stage}".

    Returns:
        dict of stage name -> `keras.Model`, in the backbone's order.

    Raises:
        ValueError: a stage's layer is no cut of the network, or the stages are out of order.
    """
    network = backbone.network
    cuts = cut_layers(network)
    order = list(cuts)
    models, start, position = {}, network.input, 0
    for stage, layer in backbone.stages.items():
        if layer not in cuts:
            raise ValueError(
                f"Layer {layer!r}, the end of stage {stage!r}, is not a cut of {network.name}: what follows also "
                "depends on the input past it"
            )
        if order.index(layer) <= position:
            raise ValueError(f"Layer {layer!r}, the end of stage {stage!r}, does not come after the stage before it")
        position = order.index(layer)
        end = cuts[layer]
        # Through a Function because a Model cut from the middle of another gets an input with a name of Keras's own.
        inputs = keras.Input(batch_shape=start.shape, dtype=start.dtype, name=f"{prefix}_{stage}_input")
        outputs = keras.Function(start, end).call(inputs)
        models[stage] = keras.Model(inputs, outputs, name=f"{prefix}_{stage}")
        start = end
    return models


def for_flow(backbone: Backbone, in_channels: int) -> Backbone:
    """The same network with another number of input channels and weights of its own, for the other stream.

    Args:
        backbone: of the RGB stream.
        in_channels: 2L.

    Raises:
        UserError: the network cannot be built for these channels.
    """
    shape = (*backbone.network.input_shape[1:3], in_channels)
    try:
        network = keras.models.clone_model(backbone.network, input_tensors=keras.Input(shape, name="flow_image"))
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"`backbone` {backbone.network.name} cannot be built for {in_channels} channels of flow ({reason}): pass a "
            "function of (image_size, in_channels) that returns a Backbone."
        ) from error
    return Backbone(network, backbone.stages, backbone.normalization, backbone.default_connect_at)


def convolution_and_norm(x, name, filters, kernel, stride=1, use_bias=False, fan="fan_out"):
    """PyTorch's Conv2d, padded by half the kernel on every side, and BatchNorm2d `<name>_bn`.

    At stride 2 'same' would pad an even input at the bottom and right only, one pixel off what was trained.
    """
    if kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_padding")(x)
    start = keras.initializers.VarianceScaling(2.0, fan, "untruncated_normal")
    x = layers.Conv2D(filters, kernel, stride, use_bias=use_bias, kernel_initializer=start, name=name)(x)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)
