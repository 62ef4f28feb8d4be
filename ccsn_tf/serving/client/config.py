"""The settings of a client, out of the metadata of the model that it asks. No TensorFlow: clients may do without."""

from __future__ import annotations

from ccsn_tf.config import Config
from ccsn_tf.data.records.manifest import STORED
from ccsn_tf.errors import UserError

# Of the metadata; and its file in `assets.extra` of a SavedModel.
FORMAT = 1
FILE_NAME = "ccsn.json"

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
