"""What a client of an exported model needs to know, and nothing that it could look up elsewhere.

It travels inside the model: as `assets.extra/ccsn.json`, and as the answer of the signature `metadata`.
"""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import pathlib

import keras
import numpy as np

from ccsn_tf.config import RUN_INDEPENDENT, Config
from ccsn_tf.data.records.manifest import input_settings
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.compare import read_evaluation
from ccsn_tf.serving.client.config import FORMAT
from ccsn_tf.serving.saved_model.decoding import MAX_PIXELS, MAX_SCANS, MAX_WORK

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
    model: keras.Model, config: Config, max_segments: int | None, xla: bool = False, accuracy: dict | None = None
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


def weights_hash(model: keras.Model) -> str:
    """SHA-256 over the values of all weights, in the model's order."""
    digest = hashlib.sha256()
    for weight in model.weights:
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def _training(config):
    """The settings that the model depends on, grouped as in config.json: no paths of the machine it was trained on."""
    groups = json.loads(config.to_json())
    return {
        group: {name: value for name, value in values.items() if name not in RUN_INDEPENDENT}
        for group, values in groups.items()
    }


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # run from the source tree
        return "unknown"
