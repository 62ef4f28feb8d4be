"""Published weights as a finished run, which others start from, or which is evaluated as it is."""

import pathlib
from collections.abc import Callable

from ccsn_tf.config import Config
from ccsn_tf.config.settings import STREAMS
from ccsn_tf.data.datasets.folders_and_lists import read_class_file
from ccsn_tf.errors import UserError
from ccsn_tf.files import whole_file
from ccsn_tf.models.backbones import build_backbone
from ccsn_tf.models.backbones.backbone import Normalization
from ccsn_tf.models.build import build_model
from ccsn_tf.models.ccsn import CCSN
from ccsn_tf.models.published_weights import LAYOUTS, adopt_scaling, load_published
from ccsn_tf.models.torch_checkpoint import read_torch_checkpoint
from ccsn_tf.models.weights import initialise_temporal_from_spatial
from ccsn_tf.training.workdir import check_workdir, lock_workdir


def import_weights(
    config: Config, layout: str, spatial: str = "", temporal: str = "", say: Callable[[str], None] = lambda line: None
) -> CCSN:
    """Writes the run that published streams are: config.json, classes.json and model.keras in `config.train.workdir`.

    Its backbone is the layout's, and its streams are joined by nothing but the sum of their scores (late fusion, with
    `fusion_weights`), as they were published. A stream without a file starts from the other one's weights where that
    is for RGB (cross-modality initialisation), and at random otherwise.

    Args:
        config: all settings; `class_file` names the classifiers' classes, which are numbers without it.
        layout: name in `LAYOUTS`.
        spatial, temporal: files of the streams' checkpoints; at least one.
        say: receives lines for people.

    Returns:
        The model.

    Raises:
        UserError: a file that cannot be read or does not fit, classes that do not, or a work directory that is in use.
    """
    files = {"spatial": spatial, "temporal": temporal}
    if not any(files.values()):
        raise UserError("no weights given: pass --spatial=FILE, --temporal=FILE or both.")
    form = LAYOUTS[layout]
    if temporal and form.flow is None:
        raise UserError(f"--temporal: there are no weights for flow in the layout {layout}; leave it out.")
    config = config.replace(
        backbone=form.backbone,
        pretrained="none",
        connection="none",
        consensus="mean",
        fusion_features=False,
    )
    workdir = check_workdir(config)
    if (workdir / "model.keras").exists():
        raise UserError(f"{workdir / 'model.keras'} is there already: give another --workdir.")
    loaded = {stream: _load(path, form, config, stream) for stream, path in files.items() if path}
    run = build_model(config.model, _classes(config.data.class_file, {s: bias for s, (_, _, bias) in loaded.items()}))
    for stream, (weights, *classifier) in loaded.items():
        run.network(stream).set_weights(weights)
        run.get_layer(f"{stream}_logits").set_weights(classifier)
    if temporal:
        ours = run.get_layer("temporal_normalization")
        adopt_scaling(run.network("temporal"), form.flow, Normalization(ours.mean, ours.scale))
    else:
        initialise_temporal_from_spatial(run.network("spatial"), run.network("temporal"))
    with lock_workdir(workdir, config, run.classes), whole_file(workdir / "model.keras") as beside:
        run.save(beside)
    for stream in STREAMS:
        source = files[stream] or ("the spatial stream's weights" if spatial else "random weights")
        say(f"{stream}: {source}" + (f", {len(run.classes)} classes" if stream in loaded else ", no classifier"))
    return run


def _load(path, layout, config, stream):
    """The weights of a stream's network, and the kernel and bias of its classifier."""
    checkpoint = read_torch_checkpoint(path)
    channels = 3 if stream == "spatial" else 2 * config.model.flow_length
    backbone = build_backbone(layout.backbone, config.model.image_size, channels)
    try:
        classifier = load_published(backbone.network, checkpoint, layout, path)
    except UserError as error:
        raise UserError(f"--{stream}: {error} Check --layout, and --flow_length for flow.") from None
    return backbone.network.get_weights(), *classifier


def _classes(class_file, biases):
    counts = {stream: len(bias) for stream, bias in biases.items()}
    if len(set(counts.values())) > 1:
        raise UserError(
            f"--spatial tells {counts['spatial']} classes apart, --temporal {counts['temporal']}: give two checkpoints "
            "of one data set."
        )
    (count,) = set(counts.values())
    if not class_file:
        return [str(number) for number in range(count)]
    names = read_class_file(pathlib.Path(class_file))
    if len(names) != count:
        raise UserError(f"{class_file} names {len(names)} classes, the weights are for {count}: give their list.")
    return list(names)
