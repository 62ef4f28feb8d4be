"""Requests for an exported model, good ones and hostile ones."""

import cv2
import numpy as np

from ccsn_tf.serving.saved_model.fresh_process import Request


def textured(height, width, channels, seed=0):
    """A random smooth picture, uint8 (H, W, C), or (H, W) where C is 1."""
    noise = np.random.default_rng(seed).random((height, width, channels))
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.0).reshape(noise.shape)
    picture = np.rint(255 * (smooth - smooth.min()) / max(np.ptp(smooth), 1e-9)).astype(np.uint8)
    return picture[..., 0] if channels == 1 else picture


def encoded(picture, suffix=".jpg"):
    """An RGB or grey picture as a file's bytes."""
    ordered = picture if picture.ndim == 2 else np.ascontiguousarray(picture[..., ::-1])
    return cv2.imencode(suffix, ordered)[1].tobytes()


def jpeg_with_size(jpeg, height, width):
    """A JPEG whose header declares another size than it has."""
    start = jpeg.index(b"\xff\xc0") + 5  # behind the frame header's marker, length and precision
    return jpeg[:start] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + jpeg[start + 4 :]


def with_scans(jpeg, count):
    """A JPEG with so many more scans, all of them empty."""
    return jpeg[:-2] + count * b"\xff\xda\x00\x08\x01\x01\x00\x01\x3f\x00" + jpeg[-2:]


def arrays(metadata, clips=1, segments=2, **other):
    """rgb and flow of random pixels; `other` changes image_size, flow_length or dtype."""
    size, length = other.get("image_size", metadata["image_size"]), other.get("flow_length", metadata["flow_length"])
    rng = np.random.default_rng(clips)
    return {
        name: rng.integers(0, 256, (clips, segments, size, size, channels)).astype(other.get("dtype", "uint8"))
        for name, channels in (("rgb", 3), ("flow", 2 * length))
    }


def _first_clip(inputs):
    return {name: value[0] for name, value in inputs.items()}


def jpegs(metadata, clips=1, segments=2, frame=None, field=None, length=None):
    """rgb and flow as JPEGs of 48x36 pixels; `frame` and `field` take the place of the last of each."""
    rgb = np.empty((clips, segments), object)
    flow = np.empty((clips, segments, length or metadata["flow_length"]), object)
    for index in np.ndindex(rgb.shape):
        rgb[index] = encoded(textured(36, 48, 3, seed=sum(index)))
        flow[index] = encoded(textured(72, 48, 1, seed=sum(index)))
    if frame is not None:
        rgb[-1, -1] = frame
    if field is not None:
        flow[-1, -1, -1] = field
    return {"rgb": rgb, "flow": flow}


def distinct(metadata, count=12):
    """Clips of one to three segments, each of its own colours: a model with spread weights tells them apart."""
    made = [jpegs(metadata, segments=1 + number % 3) for number in range(count)]
    for number, clip in enumerate(made):
        tint = np.random.default_rng(number).integers(0, 256, 3)
        frame = encoded(np.uint8(0.3 * textured(36, 48, 3, seed=number) + 0.7 * tint))
        clip["rgb"][:] = frame
    return made


def distinct_arrays(metadata, count=12):
    """The same as arrays, of one clip and one to six segments."""
    made = [arrays(metadata, segments=1 + number % 6) for number in range(count)]
    for number, clip in enumerate(made):
        tint = np.random.default_rng(number).integers(0, 256, 3)
        clip["rgb"] = np.uint8(0.3 * clip["rgb"] + 0.7 * tint)
    return made


def hostile(metadata):
    """Requests that no model should answer, name -> Request."""
    good, most = arrays(metadata), metadata["limits"]["segments_a_request"]
    picture, size = encoded(textured(36, 48, 3)), metadata["image_size"]
    of_pixels = {
        "one rank less": {**good, "rgb": good["rgb"][0]},
        "one rank more": {**good, "flow": good["flow"][None]},
        "a number": {**good, "rgb": np.uint8(1)},
        "larger pictures": arrays(metadata, image_size=2 * size),
        "smaller pictures": arrays(metadata, image_size=size // 2),
        "shorter snippets": arrays(metadata, flow_length=metadata["flow_length"] - 1),
        "floats": arrays(metadata, dtype="float32"),
        "not a number": {name: np.full(value.shape, np.nan, np.float32) for name, value in good.items()},
        "wide integers": arrays(metadata, dtype="int64"),
        "strings": jpegs(metadata),
        "no clip": arrays(metadata, clips=0),
        "no segment": arrays(metadata, segments=0),
        "too many clips": arrays(metadata, clips=most + 1, segments=1),
        "too many segments": arrays(metadata, clips=1, segments=most + 1),
        "other clips": {**good, "flow": arrays(metadata, clips=2)["flow"]},
        "other segments": {**good, "flow": arrays(metadata, segments=1)["flow"]},
        "no flow": {"rgb": good["rgb"]},
        "one more": {**good, "audio": good["rgb"]},
    }
    of_jpegs = {
        "truncated": jpegs(metadata, frame=picture[: len(picture) // 2]),
        "truncated flow": jpegs(metadata, field=encoded(textured(72, 48, 1))[:500]),
        "header alone": jpegs(metadata, frame=picture[:20]),
        "empty": jpegs(metadata, frame=b""),
        "text": jpegs(metadata, frame=b"not a picture"),
        "png": jpegs(metadata, frame=encoded(textured(36, 48, 3), ".png")),
        "png flow": jpegs(metadata, field=encoded(textured(72, 48, 1), ".png")),
        "100 megapixels": jpegs(metadata, frame=jpeg_with_size(picture, 10_000, 10_000)),
        "17 scans": jpegs(metadata, frame=with_scans(picture, 16)),
        "20,000 scans of flow": jpegs(metadata, field=with_scans(encoded(textured(72, 48, 1)), 20_000)),
        "colour as flow": jpegs(metadata, field=picture),
        "flow of another size": jpegs(metadata, field=encoded(textured(36, 48, 1))),
        "shorter snippets": jpegs(metadata, length=metadata["flow_length"] - 1),
        "no clip": jpegs(metadata, clips=0),
        "100 megapixels of flow": jpegs(metadata, field=jpeg_with_size(encoded(textured(72, 48, 1)), 10_000, 10_000)),
        "clips beyond the limit": jpegs(metadata, clips=most + 1, segments=1),
        "too many segments": jpegs(metadata, segments=most + 1),
        "other segments": {**jpegs(metadata), "flow": jpegs(metadata, segments=1)["flow"]},
        "arrays": good,
        "not a number": {name: np.full(value.shape, np.nan, np.float32) for name, value in jpegs(metadata).items()},
        "one rank less": {**jpegs(metadata), "rgb": jpegs(metadata)["rgb"][0]},
        "one rank more": {**jpegs(metadata), "flow": jpegs(metadata)["flow"][None]},
    }
    of_snippets = {
        "clips": good,
        "a number": {**good, "rgb": np.uint8(1)},
        "larger pictures": _first_clip(arrays(metadata, image_size=2 * size)),
        "shorter snippets": _first_clip(arrays(metadata, flow_length=metadata["flow_length"] - 1)),
        "none": _first_clip(arrays(metadata, segments=0)),
        "too many": _first_clip(arrays(metadata, segments=most + 1)),
        "other snippets": {**_first_clip(good), "flow": arrays(metadata, segments=3)["flow"][0]},
    }
    features = dict.fromkeys(("spatial", "temporal"), np.zeros((1, 2, 96), np.float32))
    of_features = {
        "one rank less": {name: value[0] for name, value in features.items()},
        "other widths": {name: value[..., :-1] for name, value in features.items()},
        "other segments": {**features, "spatial": features["spatial"][:, :1]},
        "no segment": {name: value[:, :0] for name, value in features.items()},
        "too many": dict.fromkeys(features, np.zeros((1, most + 1, 96), np.float32)),
        "pictures": good,
    }
    of_metadata = {
        "floats": {"request": np.zeros(1, np.float32)},
        "not a number": {"request": np.full(1, np.nan, np.float32)},
        "a number": {"request": np.int32(1)},
        "one rank more": {"request": np.zeros((1, 1), np.int32)},
        "none": {"request": np.zeros(0, np.int32)},
        "too many": {"request": np.zeros(most + 1, np.int32)},
        "far too many": {"request": np.zeros(1_000_000, np.int32)},
    }
    return {
        **{
            f"{signature}: {name}": Request(signature, inputs)
            for signature, table in (
                ("serving_default", of_pixels),
                ("embed", of_pixels),
                ("jpeg", of_jpegs),
                ("metadata", of_metadata),
                ("snippet", of_snippets),
                ("answer", of_features),
            )
            for name, inputs in table.items()
        },
        "no such signature": Request("classify", good),
    }
