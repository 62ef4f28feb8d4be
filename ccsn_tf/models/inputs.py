"""The network's inputs and what its streams see of them; layers between clips of segments and batches of images."""

import keras
from keras import ops

from ccsn_tf.errors import UserError
from ccsn_tf.models.backbones.backbone import Normalization
from ccsn_tf.models.flow import QuantizedFlow, TVL1Flow


def stored_inputs(segments, image_size, flow_length):
    """The inputs by name, which are what the streams see: "rgb" and "flow", uint8 (B, K, S, S, channels)."""
    return {
        name: keras.Input((segments, image_size, image_size, channels), dtype="uint8", name=name)
        for name, channels in (("rgb", 3), ("flow", 2 * flow_length))
    }


def frame_inputs(segments, image_size, flow_length, flow: TVL1Flow, bound, scale):
    """The input by name, "frames", uint8 (B, K, L + 1, S, S, 3); and what the streams see, "rgb" and "flow".

    They see the middle frame, and the flow that the layer computes, in the form of records (`QuantizedFlow`).
    """
    frames = keras.Input((segments, flow_length + 1, image_size, image_size, 3), dtype="uint8", name="frames")
    fields = flow(FoldSegments(name="fold_frames")(frames))
    quantized = QuantizedFlow(bound, scale, name="quantized_flow")(fields)
    unfold = UnfoldSegments(dtype="float32", name="unfold_flow")
    return {"frames": frames}, {"rgb": MiddleFrame(name="middle_frame")(frames), "flow": unfold([quantized, frames])}


def normalized(rgb, flow, images: Normalization):
    """What the streams see, scaled, of all segments: the spatial stream's, the temporal one's, (B*K, S, S, channels).

    Flow is scaled so that no motion (127.5) is zero, a mirrored field the exact negative, and its spread that of the
    images' channels on average: the temporal stem starts from the spatial one's kernel.

    Args:
        rgb: uint8 (B, K, S, S, 3).
        flow: uint8 or float32, 0 to 255, (B, K, S, S, 2L).
        images: the scaling that the backbone expects of images.
    """
    scales = images.scale if isinstance(images.scale, tuple) else (images.scale,)
    of_rgb = InputNormalization(images.mean, images.scale, images.reverse_channels, name="spatial_normalization")
    of_flow = InputNormalization(127.5, sum(scales) / len(scales), name="temporal_normalization")
    return of_rgb(rgb), of_flow(flow)


def check_inputs(inputs, expected):
    """Refuses what a functional model would turn into something else without a word.

    UserError where `inputs` are no dict with the names of `expected`, are of another shape, or images are not uint8:
    floats in 0..1 would all become black.
    """
    if not isinstance(inputs, dict):
        raise UserError(f"`inputs` must be a dict of {', '.join(expected)}. Received: {type(inputs).__name__}.")
    missing = [name for name in expected if name not in inputs]
    if missing:
        raise UserError(f"`inputs` lack {', '.join(missing)}: they have {', '.join(inputs) or 'nothing'}.")
    clips = {name: inputs[name].shape[0] for name in expected if getattr(inputs[name], "shape", None)}
    if len(clips) < len(expected):
        raise UserError(f"`inputs` {' and '.join(expected.keys() - clips)} must be arrays or tensors, with axes.")
    if len(set(clips.values()) - {None}) > 1:
        raise UserError(f"`inputs` must be of the same clips. Received: {clips}.")
    for name, tensor in expected.items():
        dtype = keras.backend.standardize_dtype(inputs[name].dtype)
        if keras.backend.standardize_dtype(tensor.dtype) == "uint8" != dtype:
            raise UserError(
                f"`inputs` {name} must be uint8, values 0 to 255, not {dtype}: convert it, as in "
                "np.round(x).astype('uint8') of values 0 to 255."
            )
        found, wanted = tuple(inputs[name].shape), tuple(tensor.shape)
        pairs = zip(found, wanted, strict=False)
        if len(found) != len(wanted) or any(None not in pair and len(set(pair)) > 1 for pair in pairs):
            shape = ", ".join(str(size or free) for size, free in zip(wanted, "BK   ", strict=False))
            raise UserError(
                f"`inputs` {name} must have the shape ({shape}) that the model is built for. Received: {found}: pass "
                "such clips, or build it with another `image_size`, `flow_length` or `num_segments`."
            )


@keras.saving.register_keras_serializable("ccsn_tf")
class InputNormalization(keras.layers.Layer):
    """uint8 (B, K, H, W, C) to (B*K, H, W, C) in the compute dtype, scaled as the backbone expects.

    Args:
        mean, scale, reverse_channels: see `Normalization`.
    """

    def __init__(self, mean, scale, reverse_channels=False, **kwargs):
        super().__init__(autocast=False, **kwargs)  # flow of the graph is float32: bytes must not be rounded
        self.mean, self.scale, self.reverse_channels = mean, scale, reverse_channels

    def call(self, clips):
        images = ops.reshape(clips, (-1, *clips.shape[2:]))
        return ops.cast(Normalization(self.mean, self.scale, self.reverse_channels).apply(images), self.compute_dtype)

    def compute_output_shape(self, shape):
        return (None, *shape[2:])

    def get_config(self):
        own = {"mean": self.mean, "scale": self.scale, "reverse_channels": self.reverse_channels}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("ccsn_tf")
class UnfoldSegments(keras.layers.Layer):
    """(B*K, ...) back to (B, K, ...); B and K are those of the second input, whose values are not used."""

    def call(self, inputs):
        folded, clips = inputs
        return ops.reshape(folded, (-1, ops.shape(clips)[1], *folded.shape[1:]))

    def compute_output_shape(self, input_shape):
        folded, clips = input_shape
        return (clips[0], clips[1], *folded[1:])


@keras.saving.register_keras_serializable("ccsn_tf")
class FoldSegments(keras.layers.Layer):
    """(B, K, ...) to (B*K, ...)."""

    def call(self, unfolded):
        return ops.reshape(unfolded, (-1, *unfolded.shape[2:]))

    def compute_output_shape(self, shape):
        return (None, *shape[2:])


@keras.saving.register_keras_serializable("ccsn_tf")
class BlankImages(keras.layers.Layer):
    """For clips (B, K, ...) of anything, black images (B, K, *shape), uint8: a stand-in where only B and K matter."""

    def __init__(self, shape, **kwargs):
        super().__init__(**kwargs)
        self.shape = tuple(shape)

    def call(self, clips):
        return ops.zeros((*ops.shape(clips)[:2], *self.shape), dtype="uint8")

    def compute_output_spec(self, clips):
        return keras.KerasTensor((*clips.shape[:2], *self.shape), dtype="uint8")

    def get_config(self):
        return {**super().get_config(), "shape": self.shape}


@keras.saving.register_keras_serializable("ccsn_tf")
class MiddleFrame(keras.layers.Layer):
    """Of snippets (B, K, L + 1, H, W, 3), the frame that the spatial stream sees, L // 2: (B, K, H, W, 3)."""

    def call(self, snippets):
        return snippets[:, :, (snippets.shape[2] - 1) // 2]

    def compute_output_spec(self, snippets):
        shape = snippets.shape
        return keras.KerasTensor((*shape[:2], *shape[3:]), dtype=snippets.dtype)
