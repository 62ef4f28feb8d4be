"""JPEGs decoded in the served graph: the pixels of the input pipeline, and a clear refusal of everything else."""

import time

import cv2
import numpy as np
import pytest
import tensorflow as tf
from serving_requests import encoded, jpeg_with_size, textured, with_scans

from ccsn_tf.config import ModelConfig
from ccsn_tf.data.flow import field_size
from ccsn_tf.data.sampling import view_boxes
from ccsn_tf.data.views import InputForm, from_jpegs
from ccsn_tf.serving.clips import clips_to_try
from ccsn_tf.serving.metadata import MAX_PIXELS
from ccsn_tf.serving.saved_model.decoding import decode_frames, decode_segments, scale_frames


@tf.function
def in_graph(rgb, flow, image_size):
    return decode_segments(rgb, flow, image_size)


def decoded(rgb, flow, image_size):
    """rgb and flow of `decode_segments`, as arrays."""
    return [part.numpy() for part in in_graph(tf.constant(rgb), tf.constant(flow), image_size)]


@pytest.mark.parametrize("name", ["exported", "exported_frames"])
def test_pixels_are_those_of_the_pipeline(name, request):
    exported = request.getfixturevalue(name)
    with clips_to_try(exported.config, tuple(exported.model.classes), 4, True) as clips:
        arrays, jpegs = clips.arrays(3), clips.jpegs(3)
    flat, size = (
        {key: value.reshape(-1, *value.shape[2:]) for key, value in jpegs.items()},
        exported.metadata["image_size"],
    )
    if name == "exported":
        found = dict(zip(("rgb", "flow"), decoded(flat["rgb"], flat["flow"], size), strict=True))
    else:
        found = {"frames": tf.function(decode_frames)(tf.constant(flat["frames"]), size)}
    for key, pixels in found.items():
        assert np.ptp(arrays[key]) > 20
        np.testing.assert_array_equal(pixels, arrays[key].reshape(pixels.shape))


@tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)])
def scaled(frames):
    """Of frames whose size is not known beforehand, as in the signature."""
    return scale_frames(frames, 32)


@pytest.mark.parametrize("height, width", [(32, 32), (36, 48), (9, 7)])
def test_frames_of_any_size_are_cropped_and_scaled_as_for_training(height, width):
    frames = np.stack([textured(height, width, 3, seed=seed) for seed in range(4)])
    ((box, mirrored),) = view_boxes(height, width, 1)
    form = InputForm(ModelConfig(flow_source="graph", flow_length=3, image_size=32))
    expected = form.empty((1,))
    form.write({"frames": [list(frames)]}, box, mirrored, expected)
    np.testing.assert_array_equal(scaled(tf.constant(frames)), expected["frames"][0])


def test_segments_of_different_sizes():
    sizes = [(40, 30), (33, 61), (7, 5)]
    rgb = [encoded(textured(height, width, 3)) for height, width in sizes]
    flow = [[encoded(textured(2 * height, width, 1))] * 2 for height, width in sizes]
    together = decoded(rgb, flow, 16)
    assert [part.shape for part in together] == [(3, 16, 16, 3), (3, 16, 16, 4)]
    for number in range(3):
        alone = decoded(rgb[number : number + 1], flow[number : number + 1], 16)
        for ours, theirs in zip(together, alone, strict=True):
            np.testing.assert_array_equal(ours[number], theirs[0])


@pytest.mark.parametrize("flow_side", [7, 20, 31, 32, 33])
def test_smaller_fields_are_cropped_as_by_the_pipeline(flow_side):
    model = ModelConfig(flow_length=1, image_size=24)
    for height, width in ((48, 64), (50, 67), (67, 50), (33, 90)):
        tall, wide = field_size(height, width, flow_side)
        jpegs = {"rgb": [encoded(textured(height, width, 3))], "flow": [[encoded(textured(2 * tall, wide, 1))]]}
        out = InputForm(model).empty((1,))
        InputForm(model).write(from_jpegs(jpegs), view_boxes(height, width, 1)[0][0], False, out)
        for ours, theirs in zip(decoded(jpegs["rgb"], jpegs["flow"], 24), out.values(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("image_size", [16, 112])
def test_scaling_is_opencv_s_to_the_last_bit(image_size):
    """Up and down, odd and even, halved and doubled, one pixel too."""
    for side in (1, 2, 5, 15, 16, 17, 32, 64, 100, 112, 119, 120, 224, 240, 256, 333, 448):
        frame, field = textured(side, side + 3, 3, seed=side), textured(2 * side, side + 3, 1, seed=side)
        rgb, flow = decoded([encoded(frame)], [[encoded(field)]], image_size)
        stored = [
            cv2.imdecode(np.frombuffer(encoded(image), np.uint8), cv2.IMREAD_UNCHANGED) for image in (frame, field)
        ]
        left = round(3 / 2)
        planes = [stored[0][..., ::-1], *stored[1].reshape(2, side, side + 3)]
        for ours, plane in zip((rgb[0], flow[0, ..., 0], flow[0, ..., 1]), planes, strict=True):
            square = np.ascontiguousarray(plane[:, left : left + side])
            np.testing.assert_array_equal(ours, cv2.resize(square, (image_size, image_size)).reshape(ours.shape))


FRAME, FIELD = encoded(textured(36, 48, 3)), encoded(textured(72, 48, 1))


@pytest.mark.parametrize(
    ("frame", "field", "reason"),
    [
        (b"", FIELD, "rgb: not a JPEG"),
        (FRAME, b"", "flow: not a JPEG"),
        (b"\xff\xd8\xff", FIELD, "Invalid JPEG data"),
        (encoded(textured(36, 48, 3), ".png"), FIELD, "rgb: not a JPEG"),
        (FRAME, encoded(textured(72, 48, 1), ".png"), "flow: not a JPEG"),
        (FRAME[: len(FRAME) // 2], FIELD, "Invalid JPEG data"),
        (FRAME, FIELD[: len(FIELD) // 2], "Invalid JPEG data"),
        (jpeg_with_size(FRAME, 10_000, 10_000), FIELD, rf"rgb: a JPEG must have 1 to {MAX_PIXELS} pixels.*10000 10000"),
        (FRAME, jpeg_with_size(FIELD, 65_500, 65_500), "flow: a JPEG must have"),
        (with_scans(FRAME, 16), FIELD, "rgb: a JPEG may have 16 scans: encode it as baseline; scans.*17"),
        (FRAME, with_scans(FIELD, 20_000), "flow: a JPEG may have 16 scans.*20001"),
        (FRAME, FRAME, r"flow: not a grey JPEG.*\[36 48 3\] \[72 48 1\]"),
        (encoded(textured(18, 24, 3)), FIELD, r"flow: .* no larger|flow: .*\[72 48 1\] \[36 24 1\]"),
        (FRAME, encoded(textured(72, 46, 1)), "flow: .* proportion"),
        (FRAME, encoded(textured(36, 48, 1)), "flow: .* proportion"),
    ],
)
def test_refused(frame, field, reason):
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"(?s){reason}"):
        decoded([FRAME, frame], [[FIELD] * 2, [FIELD, field]], 16)


def test_the_largest_picture_is_decoded():
    side = int(MAX_PIXELS**0.5) // 2
    frame, field = np.zeros((side, 2 * side, 3), np.uint8), np.zeros((2 * side, 2 * side), np.uint8)
    assert field.size == MAX_PIXELS
    rgb, _ = decoded([encoded(frame)], [[encoded(field)]], 16)
    assert not rgb.any()


def test_a_request_is_bounded_by_the_work_that_it_is():
    """Pixels times scans, for what its bytes are; flat pictures of a client's size pass."""
    flat = encoded(np.zeros((256, 340, 3), np.uint8)), encoded(np.full((512, 340), 128, np.uint8))
    decoded([flat[0]] * 25, [[flat[1]] * 5] * 25, 16)
    large, field = encoded(np.zeros((1024, 2048, 3), np.uint8)), encoded(np.zeros((2048, 2048), np.uint8))
    decoded([large], [[field]], 16)
    with pytest.raises(tf.errors.InvalidArgumentError, match="once a scan, and once scaled: send fewer or smaller"):
        decoded([with_scans(large, 15)], [[field]], 16)


def padded(jpeg, size):
    """A JPEG with comments that make it so long."""
    missing, comments = size - len(jpeg), b""
    while missing > 4:
        length = min(missing - 2, 65_535)
        comments += b"\xff\xfe" + length.to_bytes(2, "big") + b" " * (length - 2)
        missing -= length + 2
    return jpeg[:2] + comments + jpeg[2:]


@pytest.mark.slow
def test_the_dearest_requests_that_are_answered_cost_less_than_two_seconds_a_megabyte():
    """`pytest -s` prints CPU time. Pictures are padded until the bound on work lets them through."""

    def of(side, colour, *options):
        """A flat frame, of which nothing is cropped, and a field, each of `side`."""
        shapes = (side, side, 3), (2 * side, side)
        return [cv2.imencode(".jpg", np.full(shape, colour, np.uint8), list(options))[1].tobytes() for shape in shapes]

    progressive, restarts = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 1)
    noise = [np.random.default_rng(0).integers(0, 256, shape, "uint8") for shape in ((400, 400, 3), (800, 400))]
    kinds = {
        "flat": of(1400, 128),
        "flat, fewest bytes": of(1400, 128, cv2.IMWRITE_JPEG_OPTIMIZE, 1),
        "progressive": of(480, 128, *progressive),
        "16 scans": [with_scans(each, 16 - each.count(b"\xff\xda")) for each in of(360, 128, *progressive)],
        "progressive noise": [cv2.imencode(".jpg", each, progressive)[1].tobytes() for each in noise],
        "a restart after each block": of(1000, 128, *restarts),
        "noise": [encoded(each) for each in noise],
        "one pixel": of(1, 128),
    }
    found = {}
    for name, (frame, field) in kinds.items():
        segments, scans = (256 if name == "one pixel" else 4), frame.count(b"\xff\xda")
        size = cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_UNCHANGED).shape
        work = segments * 11 * max(scans * size[0] * size[1], 224**2)
        least = max(0, work - 2**24) // 128 // (6 * segments) + 1
        rgb = [padded(frame, least)] * segments
        flow = [[padded(field, least)] * 5] * segments
        seconds, megabytes = [], segments * (len(rgb[0]) + 5 * len(flow[0][0])) / 1e6
        for _ in range(3):  # the first has memory to find
            begun = time.process_time()
            decoded(rgb, flow, 224)
            seconds.append(time.process_time() - begun)
        found[name] = min(seconds) / megabytes
        print(f"{name}: {megabytes:.2f} MB, {work / 1e6:.0f} megapixels, {min(seconds):.2f} s, {found[name]:.2f} s/MB")
    assert max(found.values()) < 2, found
