"""What the model is given, and what its streams see of it."""

from __future__ import annotations

import keras

from ccsn_tf.errors import UserError
from ccsn_tf.models.backbones import is_volumetric
from ccsn_tf.models.backbones.backbone import Normalization
from ccsn_tf.models.flow import QuantizedFlow, TVL1Flow
from ccsn_tf.models.layers import FoldSegments, InputNormalization, MiddleFrame, UnfoldSegments


def checked_frames(backbone, frames_per_segment, flow_length, span):
    """Frames of the backbone's input; 0 where it has no axis of time."""
    if not is_volumetric(backbone):
        if frames_per_segment != 1:
            raise UserError(f"--backbone={backbone} sees one frame a segment: pass --frames_per_segment=1.")
        return 0
    if frames_per_segment != flow_length:
        raise UserError(
            f"--backbone={backbone} sees as many frames as flow fields: pass --frames_per_segment={flow_length}, as "
            "--flow_length."
        )
    if span != "segment":
        raise UserError(f"--span={span} is not for --backbone={backbone}, whose segments have a time of their own.")
    return flow_length


def stored_inputs(segments, image_size, frames_per_segment, flow_length):
    """The inputs by name, which are what the streams see: "rgb" and "flow", uint8 (B, K, S, S, channels)."""
    return {
        name: keras.Input((segments, image_size, image_size, channels), dtype="uint8", name=name)
        for name, channels in (("rgb", 3 * frames_per_segment), ("flow", 2 * flow_length))
    }


def frame_inputs(segments, image_size, flow_length, flow: TVL1Flow, bound, scale):
    """The input by name, "frames", uint8 (B, K, L + 1, S, S, 3); and what the streams see, "rgb" and "flow".

    They see the middle frame, and the flow that the layer computes, in the form of records (`QuantizedFlow`).
    """
    frames = keras.Input((segments, flow_length + 1, image_size, image_size, 3), dtype="uint8", name="frames")
    fields = flow(FoldSegments(name="fold_frames")(frames))
    stored = QuantizedFlow(bound, scale, name="quantized_flow")(fields)
    unfold = UnfoldSegments(dtype="float32", name="unfold_flow")
    return {"frames": frames}, {"rgb": MiddleFrame(name="middle_frame")(frames), "flow": unfold([stored, frames])}


def normalized(seen, images: Normalization, frames):
    """What the streams see, of all segments (B*K, ...) and scaled: the spatial stream's, the temporal one's.

    Args:
        seen: {"rgb", "flow"}, uint8 (B, K, S, S, channels).
        images: the scaling that the backbone expects of images.
        frames: of the backbone's input; 0: it has no axis of time.
    """
    scalings = (("spatial", "rgb", images), ("temporal", "flow", flow_normalization(images)))
    return tuple(
        InputNormalization(
            scaling.mean, scaling.scale, scaling.reverse_channels, frames, name=f"{stream}_normalization"
        )(seen[modality])
        for stream, modality, scaling in scalings
    )


def flow_normalization(images: Normalization) -> Normalization:
    """The scaling of flow: no motion (127.5) to zero, spread as the images' channels are on average.

    The temporal stem starts from the spatial one's kernel, so its input should be of the same magnitude; 127.5 makes a
    mirrored field the exact negative.
    """
    scales = images.scale if isinstance(images.scale, tuple) else (images.scale,)
    return Normalization(127.5, sum(scales) / len(scales))
