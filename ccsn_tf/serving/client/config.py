"""The settings of a client, out of the metadata of the model that it asks. No TensorFlow: clients may do without."""

from __future__ import annotations

from ccsn_tf.config import Config
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


def client_config(metadata: dict) -> Config:
    """The settings with which a client makes its input, as `data.views` takes them.

    Raises:
        UserError: the model comes from a version of this package that made its input otherwise.
    """
    try:
        if metadata["format"] != FORMAT:
            raise UserError(f"format {metadata['format']}")
        return Config.from_flat(
            {
                **metadata["preprocessing"],
                "image_size": metadata["image_size"],
                "flow_length": metadata["flow_length"],
                "flow_source": metadata.get("flow_source", "stored"),  # older exports know no other
                "test_segments": metadata["segments"],
                "top_k": metadata["top_k"],
            }
        )
    except (UserError, KeyError, TypeError) as error:
        versions = metadata.get("versions", {}) if isinstance(metadata, dict) else {}
        raise UserError(
            f"The model's metadata cannot be followed ({error}): use the version of ccsn_tf that exported it "
            f"({versions.get('ccsn_tf', 'unknown')}), or export it again with this one."
        ) from None
