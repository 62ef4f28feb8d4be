"""What the model is given, and what its streams see of it."""

from __future__ import annotations

import keras

from ccsn_tf.errors import UserError
from ccsn_tf.models.backbones.backbone import Normalization
from ccsn_tf.models.flow import QuantizedFlow, TVL1Flow
from ccsn_tf.models.layers import FoldSegments, InputNormalization, MiddleFrame, UnfoldSegments


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

    Args:
        rgb: uint8 (B, K, S, S, 3).
        flow: uint8 or float32, 0 to 255, (B, K, S, S, 2L).
        images: the scaling that the backbone expects of images.
    """
    pairs = (("spatial", rgb, images), ("temporal", flow, flow_normalization(images)))
    return tuple(
        InputNormalization(scaling.mean, scaling.scale, scaling.reverse_channels, name=f"{stream}_normalization")(clip)
        for stream, clip, scaling in pairs
    )


def flow_normalization(images: Normalization) -> Normalization:
    """The scaling of flow: no motion (127.5) to zero, spread as the images' channels are on average.

    The temporal stem starts from the spatial one's kernel, so its input should be of the same magnitude; 127.5 makes a
    mirrored field the exact negative.
    """
    scales = images.scale if isinstance(images.scale, tuple) else (images.scale,)
    return Normalization(127.5, sum(scales) / len(scales))


def check_inputs(inputs, expected):
    """Refuses what a functional model would turn into something else without a word.

    Args:
        inputs: what the model was called with.
        expected: its inputs by name.

    Raises:
        UserError: a stream is missing, or images are not uint8: floats in 0..1 would all become black.
    """
    if not isinstance(inputs, dict):
        raise UserError(f"`inputs` must be a dict of {', '.join(expected)}. Received: {type(inputs).__name__}.")
    missing = [name for name in expected if name not in inputs]
    if missing:
        raise UserError(f"`inputs` lack {', '.join(missing)}: they have {', '.join(inputs) or 'nothing'}.")
    for name, tensor in expected.items():
        dtype = keras.backend.standardize_dtype(inputs[name].dtype)
        if keras.backend.standardize_dtype(tensor.dtype) == "uint8" != dtype:
            raise UserError(
                f"`inputs` {name} must be uint8, values 0 to 255, not {dtype}: convert it, as in "
                "np.round(x).astype('uint8') of values 0 to 255."
            )
