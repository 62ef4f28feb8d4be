"""Requests for an exported model that computes flow itself, good ones and hostile ones."""

import numpy as np
from serving_requests import encoded, jpeg_with_size, textured, with_scans

from ccsn_tf.serving.saved_model.fresh_process import Request

PICTURE = encoded(textured(36, 48, 3))


def frames(metadata, clips=1, segments=2, **other):
    """Random pixels; `other` changes height, width, count, channels or dtype."""
    size = metadata["image_size"]
    shape = other.get("count", metadata["flow_length"] + 1), other.get("height", size), other.get("width", size)
    pixels = np.random.default_rng(clips).integers(0, 256, (clips, segments, *shape, other.get("channels", 3)))
    return {"frames": pixels.astype(other.get("dtype", "uint8"))}


def jpegs(metadata, clips=1, segments=2, frame=None, count=None):
    """JPEGs of 48x36 pixels; `frame` takes the place of the last one."""
    made = np.empty((clips, segments, count or metadata["flow_length"] + 1), object)
    for index in np.ndindex(made.shape):
        made[index] = encoded(textured(36, 48, 3, seed=sum(index)))
    if frame is not None:
        made[-1, -1, -1] = frame
    return {"frames": made}


def hostile(metadata):
    """Requests that no model should answer, name -> (Request, part of the reason that must be given)."""
    good, most = frames(metadata), metadata["limits"]["segments_a_request"]
    count = metadata["flow_length"] + 1
    send, some, few = f"send {count} RGB frames a snippet", "at least one clip", f"may have {most} segments in all"
    huge = np.zeros((1, 1, count, 2**11 + 1, 2**11, 3), np.uint8)
    of_pixels = {
        "fewer frames": (frames(metadata, count=count - 1), send),
        "more frames": (frames(metadata, count=count + 1), send),
        "grey": (frames(metadata, channels=1), send),
        "alpha": (frames(metadata, channels=4), send),
        "one rank less": ({"frames": good["frames"][0]}, ""),
        "one rank more": ({"frames": good["frames"][None]}, ""),
        "a number": ({"frames": np.uint8(1)}, ""),
        "floats": (frames(metadata, dtype="float32"), ""),
        "strings": (jpegs(metadata), ""),
        "no pixels": (frames(metadata, height=0), "1 to 4194304 pixels: scale it down"),
        "4 megapixels and a line": ({"frames": huge}, "scale it down"),
        "no clip": (frames(metadata, clips=0), some),
        "no segment": (frames(metadata, segments=0), some),
        "too many clips": (frames(metadata, clips=most + 1, segments=1, height=1, width=1), few),
        "too many segments": (frames(metadata, segments=most + 1, height=1, width=1), few),
        "stored flow": ({"rgb": good["frames"][:, :, 0], "flow": good["frames"][:, :, 0]}, ""),
        "one more": ({**good, "flow": good["frames"]}, ""),
    }
    send = f"send {count} JPEGs a snippet"
    of_jpegs = {
        "fewer frames": (jpegs(metadata, count=count - 1), send),
        "more frames": (jpegs(metadata, count=count + 1), send),
        "mixed sizes": (jpegs(metadata, frame=encoded(textured(36, 50, 3))), "different sizes: scale them to one"),
        "grey": (jpegs(metadata, frame=encoded(textured(36, 48, 1))), "not a colour JPEG of 3 channels, .*convert it"),
        "png": (jpegs(metadata, frame=encoded(textured(36, 48, 3), ".png")), "not a JPEG, .*convert it"),
        "alpha": (jpegs(metadata, frame=encoded(textured(36, 48, 4), ".png")), "not a JPEG, .*convert it"),
        "truncated": (jpegs(metadata, frame=PICTURE[: len(PICTURE) // 2]), "Invalid JPEG data"),
        "header alone": (jpegs(metadata, frame=PICTURE[:20]), ""),
        "empty": (jpegs(metadata, frame=b""), "not a JPEG"),
        "text": (jpegs(metadata, frame=b"not a picture"), "not a JPEG"),
        "100 megapixels": (jpegs(metadata, frame=jpeg_with_size(PICTURE, 10_000, 10_000)), "1 to 4194304 pixels"),
        "17 scans": (jpegs(metadata, frame=with_scans(PICTURE, 16)), "a JPEG may have 16 scans"),
        "no clip": (jpegs(metadata, clips=0), some),
        "too many segments": ({"frames": np.full((1, most + 1, count), PICTURE, object)}, few),
        "one rank less": ({"frames": jpegs(metadata)["frames"][0]}, ""),
        "arrays": (good, ""),
    }
    of_snippets = {
        "clips": (good, ""),
        "fewer frames": ({"frames": frames(metadata, count=count - 1)["frames"][0]}, f"send {count} RGB frames"),
        "no pixels": ({"frames": frames(metadata, height=0)["frames"][0]}, "scale it down"),
        "none": ({"frames": good["frames"][0, :0]}, some),
        "too many": ({"frames": frames(metadata, segments=most + 1, height=1, width=1)["frames"][0]}, few),
    }
    tables = {
        "snippet": of_snippets,
        "serving_default": of_pixels,
        "frames": of_pixels,
        "embed": of_pixels,
        "jpeg_frames": of_jpegs,
    }
    return {
        **{
            f"{signature}: {name}": (Request(signature, inputs), reason)
            for signature, table in tables.items()
            for name, (inputs, reason) in table.items()
        },
        "that of stored flow": (Request("jpeg", jpegs(metadata)), ""),
    }
