"""The backbones, by name."""

from __future__ import annotations

from collections.abc import Callable

from ccsn_tf.errors import UserError
from ccsn_tf.models.backbones import applications
from ccsn_tf.models.backbones.backbone import Backbone, Normalization, cut_layers, split_into_stages
from ccsn_tf.models.backbones.bn_inception import bn_inception
from ccsn_tf.models.backbones.efficientnet_lite0 import efficientnet_lite0
from ccsn_tf.models.backbones.inception_i3d import inception_i3d
from ccsn_tf.models.backbones.resnet50 import resnet50
from ccsn_tf.models.backbones.tiny import tiny

__all__ = [
    "APPLICATIONS_PREFIX",
    "Backbone",
    "Normalization",
    "backbone_names",
    "build_backbone",
    "cut_layers",
    "is_volumetric",
    "register_backbone",
    "split_into_stages",
]

APPLICATIONS_PREFIX = "applications:"

Builder = Callable[[tuple[int, ...], int], Backbone]

_BUILDERS: dict[str, Builder] = {
    "tiny": tiny,
    "efficientnet_lite0": efficientnet_lite0,
    "bn_inception": bn_inception,
    "resnet50": resnet50,
    "inception_i3d": inception_i3d,
}
_VOLUMETRIC = {"inception_i3d"}


def build_backbone(name: str, image_size: int | tuple[int, int], in_channels: int, frames: int = 1) -> Backbone:
    """Builds a backbone with random weights.

    Args:
        name: one of `backbone_names()`.
        image_size: height and width of the input in pixels; an int for both.
        in_channels: channels of the input, 3 for RGB or 2L for flow; of a frame (3 or 2) if it `is_volumetric`.
        frames: of a volumetric backbone's input.

    Returns:
        `Backbone`. Two calls share nothing: each stream has its own.

    Raises:
        UserError: no such backbone, or the image is too small for it.
    """
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if is_volumetric(name):
        size = (frames, *size)
    if name in _BUILDERS:
        return _BUILDERS[name](size, in_channels)
    if name.startswith(APPLICATIONS_PREFIX):
        return applications.build_application(name.removeprefix(APPLICATIONS_PREFIX), size, in_channels)
    raise UserError(
        f"--backbone={name} is not known; choose {', '.join(sorted(_BUILDERS))} or {APPLICATIONS_PREFIX}<ClassName>, "
        f"where keras.applications has {', '.join(applications.class_names())}."
    )


def is_volumetric(name: str) -> bool:
    """Whether the backbone's input is a snippet's frames in space and time, (B, T, H, W, C)."""
    return name in _VOLUMETRIC


def backbone_names() -> tuple[str, ...]:
    """Every name that `build_backbone` takes: the registered ones, then `applications:<ClassName>`."""
    return (*sorted(_BUILDERS), *(APPLICATIONS_PREFIX + name for name in applications.class_names()))


def register_backbone(name: str, builder: Builder, volumetric: bool = False) -> None:
    """Makes a backbone of one's own available as `--backbone=<name>`.

    Args:
        name: string that is not taken yet.
        builder: callable with signature `(image_size, in_channels)`, (height, width) in pixels and an int, which
            returns a `Backbone`; with `volumetric`, `(frames, height, width)` and the channels of a frame.
        volumetric: see `is_volumetric`.

    Raises:
        ValueError: the name is taken.
    """
    if name in _BUILDERS or name.startswith(APPLICATIONS_PREFIX):
        raise ValueError(f"A backbone of this name exists. Received: name={name!r}")
    _BUILDERS[name] = builder
    if volumetric:
        _VOLUMETRIC.add(name)
