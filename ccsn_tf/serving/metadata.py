"""What a client of an exported model needs to know, written and read. No TensorFlow: clients may do without.

It travels inside the model: as `assets.extra/ccsn.json`, and as the answer of the signature `metadata`.
"""

import dataclasses
import datetime
import hashlib
import importlib.metadata
import json
import pathlib

import numpy as np

from ccsn_tf.config import RUN_INDEPENDENT, Config
from ccsn_tf.data.records.manifest import STORED, input_settings
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.compare import read_evaluation

FORMAT = 1
FILE_NAME = "ccsn.json"  # in `assets.extra` of a SavedModel

# By the model's source of flow: clips times segments at once, unless told otherwise (memory: docs/SERVING.md); the
# signature that takes pictures as JPEGs; and those that take arrays of clips.
MAX_SEGMENTS = {"stored": 256, "graph": 64}
JPEG_SIGNATURES = {"stored": "jpeg", "graph": "jpeg_frames"}
ARRAY_SIGNATURES = {"stored": ("serving_default", "embed"), "graph": ("serving_default", "frames", "embed")}

# Of models whose snippets have features of their own: a snippet's features, and the answer to those of a clip.
STREAM_SIGNATURES = ("snippet", "answer")

# Of what describes input, the most that a client does at a server's word.
_MOST = {"image_size": 1024, "flow_length": 64, "segments": 1024, "short_side": 2160, "flow_stride": 1000}
_MOST_CLASSES = 100_000

# Of one JPEG. A header may announce 4 billion pixels in 200 bytes; this allows Full HD, flow's two planes included.
MAX_PIXELS = 2**22

# Of one JPEG: passes over its pixels. Baseline has one to three, OpenCV's progressive ten; 10 bytes are an empty one.
MAX_SCANS = 16

# Of all JPEGs of a request, pixels counted once a scan, and of each picture at least as many as it is scaled to: what
# costs time. 256 segments of 340x256 with flow are 2.5e8. Flat pictures, which cost more time a byte than others, have
# up to 85 pixels a byte as OpenCV writes them.
MAX_WORK = 2**28

# Of the versions that may matter to what the model computes, or to the input it was trained on.
_PACKAGES = ("ccsn_tf", "tensorflow", "keras", "av", "opencv-contrib-python-headless")

_CROP = "the centre square, scaled bilinearly to image_size; "
_SAMPLING = "segments of equal length; of each, the snippet in its middle"
_LAYOUTS = {
    "stored": {
        "rgb": "the middle frame (number flow_length // 2 from the snippet's first), RGB, 0 to 255",
        "flow": "channels x1, y1, x2, y2, ...; pixels a frame at the stored size, clipped to +- flow_bound, then "
        "round(255 (v + flow_bound) / (2 flow_bound))",
        "jpeg": "rgb: colour; flow: one grey image a field, x above y; neither cropped nor scaled",
        "crop": f"{_CROP}signature jpeg does it itself",
        "sampling": _SAMPLING,
    },
    "graph": {
        "frames": "the flow_length + 1 consecutive frames of a snippet, RGB, 0 to 255; flow is computed from them",
        "jpeg": "colour; the frames of a snippet have one size; neither cropped nor scaled",
        "crop": f"{_CROP}signatures frames and jpeg_frames do it themselves",
        "sampling": _SAMPLING,
    },
}


def make_metadata(
    model, config: Config, max_segments: int | None, xla: bool = False, accuracy: dict | None = None
) -> dict:
    """The metadata of a trained model, JSON-safe.

    Args:
        model: a `CCSN`.
        config: of its run; `eval.test_segments` is what clients are told to send.
        max_segments: clips times segments that a request may have; None: any number.
        xla: has kernels that XLA makes when the model is run.
        accuracy: from `accuracy_by_segments`.

    Raises:
        UserError: the work directory's evaluation.json is damaged, or the model takes a fixed number of segments.
    """
    if config.model.consensus == "trn":
        raise UserError(
            f"{config.train.workdir} was trained with --consensus=trn, whose fixed number of segments no export takes "
            "yet: use evaluate.py and predict.py, or train with --consensus=mean."
        )
    workdir = pathlib.Path(config.train.workdir)
    return {
        "format": FORMAT,
        "classes": list(model.classes),
        "image_size": config.model.image_size,
        "flow_length": config.model.flow_length,
        "segments": config.eval.test_segments,
        "accuracy_by_segments": accuracy,
        "segments_in_training": config.model.num_segments,
        "embedding_dim": config.model.embedding_dim,
        "top_k": min(config.eval.top_k, len(model.classes)),
        "flow_source": config.model.flow_source,
        "xla": xla,
        "preprocessing": input_settings(config),
        "layout": _LAYOUTS[config.model.flow_source],
        "limits": {
            "segments_a_request": max_segments,
            "pixels_a_jpeg": MAX_PIXELS,
            "scans_a_jpeg": MAX_SCANS,
            "pixels_a_request": MAX_WORK,
        },
        "versions": {name: _version(name) for name in _PACKAGES},
        "exported": datetime.date.today().isoformat(),
        "weights_sha256": weights_hash(model),
        "training": _training(config),
        "evaluation": read_evaluation(workdir) if (workdir / "evaluation.json").is_file() else None,
    }


def weights_hash(model) -> str:
    """SHA-256 over the values of all weights of a Keras model, in its order."""
    digest = hashlib.sha256()
    for weight in model.weights:
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def client_config(metadata: dict) -> Config:
    """The settings with which a client makes its input, as `data.views` takes them.

    Of the metadata, which a stranger may have written, it takes those alone that describe input, within bounds.

    Raises:
        UserError: the model comes from a version of this package that made its input otherwise, or asks for what no
            model of ours does.
    """
    try:
        if metadata["format"] != FORMAT:
            raise UserError(f"format {metadata['format']}")
        asked = {name: metadata[name] for name in ("image_size", "flow_length", "segments", "top_k")}
        asked |= {"flow_source": metadata.get("flow_source", "stored"), **metadata["preprocessing"]}
        foreign = set(metadata["preprocessing"]) - set(STORED)
        if foreign:
            raise UserError(f"{', '.join(sorted(foreign))} is no setting of input")
        classes = metadata["classes"]
        if not all(isinstance(name, str) for name in classes) or not 0 < len(classes) <= _MOST_CLASSES:
            raise UserError("classes are no list of names")
        for name, most in {**_MOST, "top_k": len(classes)}.items():
            if name in asked and not asked[name] <= most:
                raise UserError(f"{name}={asked[name]} is more than {most}")
        if asked["segments"] * asked["image_size"] ** 2 * 3 * (asked["flow_length"] + 1) > 2**31:
            raise UserError("a clip of more than 2 GB")
        return Config.from_flat({"test_segments": asked.pop("segments"), **asked})
    except (UserError, KeyError, TypeError, AttributeError) as error:
        versions = metadata.get("versions", {}) if isinstance(metadata, dict) else {}
        raise UserError(
            f"The model's metadata cannot be followed ({error}): use the version of ccsn_tf that exported it "
            f"({versions.get('ccsn_tf', 'unknown')}), or export it again with this one."
        ) from None


def _training(config):
    """The settings that the model depends on, grouped as in config.json: no paths of the machine it was trained on."""
    groups = json.loads(json.dumps(dataclasses.asdict(config)))  # tuples are lists, as where they are read
    return {
        group: {name: value for name, value in values.items() if name not in RUN_INDEPENDENT}
        for group, values in groups.items()
    }


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # run from the source tree
        return "unknown"
