"""The backbones, by name."""

from collections.abc import Callable

from ccsn_tf.config.settings import BACKBONES, register
from ccsn_tf.errors import UserError
from ccsn_tf.models.backbones import applications
from ccsn_tf.models.backbones.backbone import Backbone
from ccsn_tf.models.backbones.bn_inception import bn_inception
from ccsn_tf.models.backbones.efficientnet_lite0 import efficientnet_lite0
from ccsn_tf.models.backbones.resnet50 import resnet50
from ccsn_tf.models.backbones.tiny import tiny

APPLICATIONS_PREFIX = "applications:"

Builder = Callable[[tuple[int, int], int], Backbone]

_BUILDERS: dict[str, Builder] = {
    "tiny": tiny,
    "efficientnet_lite0": efficientnet_lite0,
    "bn_inception": bn_inception,
    "resnet50": resnet50,
}


def build_backbone(name: str, image_size: int | tuple[int, int], in_channels: int) -> Backbone:
    """Builds a backbone with random weights.

    Args:
        name: a registered one, or `applications:<ClassName>`.
        image_size: height and width of the input in pixels; an int for both.
        in_channels: channels of the input, 3 for RGB or 2L for flow.

    Returns:
        `Backbone`. Two calls share nothing: each stream has its own.

    Raises:
        UserError: no such backbone, or the image is too small for it.
    """
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if name in _BUILDERS:
        return _BUILDERS[name](size, in_channels)
    if str(name).startswith(APPLICATIONS_PREFIX):
        return applications.build_application(name.removeprefix(APPLICATIONS_PREFIX), size, in_channels)
    raise UserError(
        f"`backbone` {name!r} is not known; choose {', '.join(sorted(_BUILDERS))} or {APPLICATIONS_PREFIX}<ClassName>, "
        f"where keras.applications has {', '.join(applications.class_names())}."
    )


def register_backbone(name: str, builder: Builder) -> None:
    """Makes a backbone of your own available by name, to `CCSN(backbone=name)` and to --backbone.

    A name that is taken is replaced, with a warning: a notebook's cell can be run twice.

    Args:
        name: string.
        builder: callable with signature `(image_size, in_channels)`, (height, width) in pixels and an int, which
            returns a `Backbone`.

    Raises:
        UserError: a name of `keras.applications`, or no function.
    """
    if not callable(builder):
        raise UserError(f"`builder` must be a function of (image_size, in_channels). Received: {builder!r}")
    if name.startswith(APPLICATIONS_PREFIX):
        raise UserError(f"`name` must not begin with {APPLICATIONS_PREFIX}. Received: {name!r}")
    register("backbone", name, builder, _BUILDERS, BACKBONES)
