"""Clips to views: of videos and of records, with stored flow and of frames alone."""

import dataclasses
import types

import cv2
import numpy as np
import pytest
import tensorflow as tf

from ccsn_tf.config import Config, ModelConfig
from ccsn_tf.data.checks import check_records
from ccsn_tf.data.pipeline import training_batches
from ccsn_tf.data.plan import training_plan
from ccsn_tf.data.prepare.prepare import prepare
from ccsn_tf.data.records.manifest import Manifest
from ccsn_tf.data.sampling import centre_starts
from ccsn_tf.data.scan import scan_records
from ccsn_tf.data.views import InputForm, decode_field, decode_frame, frame_size, from_jpegs, to_jpegs
from ccsn_tf.errors import UserError

K, L, H, W = 2, 3, 20, 26


@pytest.fixture
def snippets():
    rng = np.random.default_rng(0)
    fields = rng.integers(0, 256, (K, L, 2, H, W), np.uint8)
    return {"rgb": list(rng.integers(0, 256, (K, H, W, 3), np.uint8)), "flow": [list(row) for row in fields]}


def view(snippets, box, mirrored, size):
    length = len(snippets["flow"][0])
    form = InputForm(types.SimpleNamespace(flow_length=length, image_size=size, flow_source="stored"))
    out = form.empty((len(snippets["flow"]),))
    form.write(snippets, box, mirrored, out)
    return out["rgb"], out["flow"]


def stacked(snippets):
    """Flow as the network has it, (K, H, W, 2L): x1, y1, x2, y2, ..."""
    return np.array(snippets["flow"]).reshape(K, 2 * L, H, W).transpose(0, 2, 3, 1)


def test_crop_without_scaling_is_exact(snippets):
    rgb, flow = view(snippets, [3, 5, 12, 12], False, 12)
    assert rgb.dtype == flow.dtype == np.uint8
    np.testing.assert_array_equal(rgb, np.array(snippets["rgb"])[:, 3:15, 5:17])
    np.testing.assert_array_equal(flow, stacked(snippets)[:, 3:15, 5:17])


@pytest.mark.parametrize("size", [5, 10, 19, 20, 37])
def test_both_streams_are_scaled_as_tensorflow_does_to_one_level(snippets, size):
    """As `serving.decoding` scales, inside a graph."""
    found = view(snippets, [0, 3, 20, 20], False, size)
    for ours, whole in zip(found, (np.array(snippets["rgb"]), stacked(snippets)), strict=True):
        expected = tf.image.resize(whole[:, :, 3:23], (size, size), method="bilinear").numpy()
        assert np.abs(ours - expected).max() <= 1
    grey = [frame[..., :1].repeat(3, axis=2) for frame in snippets["rgb"]]
    fields = [[np.stack([frame[..., 0]] * 2)] * L for frame in grey]
    rgb, flow = view({"rgb": grey, "flow": fields}, [0, 3, 20, 20], False, size)
    assert (flow == rgb[..., :1]).all()


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("box", [[0, 0, 60, 60], [10, 31, 40, 30], [7, 3, 33, 51], [59, 79, 1, 1], [0, 20, 60, 60]])
def test_smaller_fields_show_the_same_place_as_their_frames(box, mirrored):
    frame_size, sizes = (60, 80), [(60, 80), (30, 40), (45, 60), (21, 28)]
    for height, width in sizes:
        images = []
        for tall, wide in (frame_size, (height, width)):  # to the right and downwards, as shares of the whole
            down, right = np.mgrid[:tall, :wide]
            images.append([240 * (right + 0.5) / wide, 240 * (down + 0.5) / tall])
        frame = np.stack([*images[0], images[0][0]], axis=-1).astype(np.uint8)
        rgb, flow = view({"rgb": [frame], "flow": [[np.array(images[1]).astype(np.uint8)]]}, box, mirrored, 16)
        x = 255 - flow[..., 0] if mirrored else flow[..., 0]
        slack = 1 + 240 / min(height, width)  # edges are rounded to whole pixels, and pixels are as large
        np.testing.assert_allclose(x.astype(int), rgb[..., 0].astype(int), atol=slack)
        np.testing.assert_allclose(flow[..., 1].astype(int), rgb[..., 1].astype(int), atol=slack)


def test_most_fields_a_snippet_can_have():
    fields = list(np.tile(np.arange(128, dtype=np.uint8).reshape(64, 2, 1, 1), (1, 1, H, W)))
    _, flow = view({"rgb": [np.zeros((H, W, 3), np.uint8)], "flow": [fields]}, [0, 0, 20, 20], False, 16)
    assert (flow == np.arange(128)).all()  # OpenCV merges 128 channels at most


def jpeg(image, quality=95):
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]


@pytest.mark.parametrize("channels, decode", [(3, decode_frame), (1, decode_field)])
def test_jpegs_are_decoded_as_tensorflow_does(channels, decode):
    noise = np.random.default_rng(0).integers(0, 256, (2 * H, W, channels), np.uint8)
    encoded = jpeg(cv2.GaussianBlur(noise, (0, 0), 1))
    expected = tf.io.decode_jpeg(encoded.tobytes(), channels=channels, dct_method="INTEGER_ACCURATE").numpy()
    np.testing.assert_array_equal(decode(encoded), expected if channels == 3 else expected.reshape(2, H, W))
    with pytest.raises(UserError, match="damaged JPEG"):
        decode(np.arange(100, dtype=np.uint8))


@pytest.mark.parametrize("flow_source", ["stored", "graph"])
def test_a_video_through_jpeg_is_its_record_to_the_bit(tiny_data, tiny_manifest, tiny_set, flow_source):
    clip, config = tiny_manifest.clips[3], Config(data=tiny_data).replace(flow_source=flow_source)
    form, path = InputForm(config.model), next((tiny_set / "videos").rglob(f"{clip.name.split('/')[-1]}.*"))
    jpegs = to_jpegs(form.of_video(str(path), config, 4), tiny_data.jpeg_quality)
    record, starts = f"{tiny_data.record_dir}/{clip.file}", centre_starts(clip.fields, 4, 5)
    expected = form.of_record(record, clip.directory, clip.fields, starts)
    snippets = from_jpegs(jpegs)
    assert frame_size(snippets) == (36, 48) and snippets.keys() == expected.keys()
    for name, items in snippets.items():
        np.testing.assert_array_equal(items, expected[name])
    shared = jpegs.get("flow", jpegs.get("frames"))  # what stands in several snippets is one JPEG
    assert len({id(jpeg) for row in shared for jpeg in row}) < sum(map(len, shared))


def test_flow_has_its_own_size_in_records_and_of_videos(tiny_data, tiny_set, tmp_path):
    sizes = {"short_side": 30, "flow_side": 20, "classes": ("MoveLeft",), "record_dir": str(tmp_path / "records")}
    config = Config(data=dataclasses.replace(tiny_data, **sizes))
    manifest = prepare(config.data, min_fields=5)
    clip, form = manifest.clips[0], InputForm(config.model)
    record = f"{config.data.record_dir}/{clip.file}"
    stored = form.of_record(record, clip.directory, clip.fields, centre_starts(clip.fields, 4, 5))
    jpegs = to_jpegs(form.of_video(str(tiny_set / "videos" / f"{clip.name}.avi"), config, 4), 95)
    for name, items in from_jpegs(jpegs).items():
        np.testing.assert_array_equal(items, stored[name])
    assert frame_size(stored) == (clip.height, clip.width) == (30, 40)
    assert stored["flow"][0][0].shape == (2, 20, 27)
    x = np.median([field[0] for snippet in stored["flow"] for field in snippet])
    assert x == pytest.approx(127.5 - 2 * (30 / 36) * 255 / 40, abs=2)  # pixels of the stored frame
    assert not any(look.error for look in scan_records(manifest, config.data, lambda *count: None).values())


# Records of frames alone


@pytest.fixture(scope="module")
def config(tiny_data, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("frames") / "records")
    data = dataclasses.replace(tiny_data, flow="none", record_dir=folder)
    prepare(data, min_fields=5)
    return Config(data=data, model=ModelConfig(flow_source="graph", image_size=36, num_segments=2))


@pytest.fixture(scope="module")
def manifest(config):
    return Manifest.read(config.data.record_dir)


def test_records_without_flow_hold_the_same_frames(config, manifest, tiny_data, tiny_manifest):
    assert [clip.name for clip in manifest.clips] == [clip.name for clip in tiny_manifest.clips]
    assert {clip.fields for clip in manifest.clips} == {13}
    for ours, theirs in zip(manifest.clips, tiny_manifest.clips, strict=True):
        folders, starts = ((config.data.record_dir, ours), (tiny_data.record_dir, theirs)), np.array([0, 3, 8])
        read = [
            InputForm(config.model).of_record(f"{folder}/{clip.file}", clip.directory, clip.fields, starts)["frames"]
            for folder, clip in folders
        ]
        np.testing.assert_array_equal(*read)


def test_each_frame_of_a_training_batch_is_what_the_spatial_stream_would_see(config, manifest):
    classes, clips = manifest.select(config.data, "train")
    plan = training_plan(clips, classes, config.data, config.model, seed=0, epoch=0)
    ((inputs, _),) = training_batches(plan, config.model).as_numpy_iterator()
    assert inputs["frames"].shape == (6, 2, 6, 36, 36, 3)
    for row, frames in enumerate(inputs["frames"]):
        item = {name: values[0, row] for name, values in plan.items()}
        where = [item[name] for name in ("file", "directory", "fields", "starts")]
        snippets = InputForm(config.model).of_record(*where)["frames"]
        for place in range(6):
            chosen = [snippet[place] for snippet in snippets]
            blank = [[np.zeros((2, *frame.shape[:2]), np.uint8)] for frame in chosen]
            expected, _ = view({"rgb": chosen, "flow": blank}, item["box"], item["mirrored"], 36)
            np.testing.assert_array_equal(frames[:, place], expected)
    assert plan["mirrored"].any() and not plan["mirrored"].all()


def test_check_finds_nothing_wrong(config, manifest, tiny_manifest):
    def found(manifest):
        return list(check_records(config, manifest, scan_records(manifest, config.data, lambda *count: None)))

    assert not found(manifest)
    refused, *damaged = found(dataclasses.replace(manifest, settings=tiny_manifest.settings))
    assert refused.kind == "refused by train.py" and len(damaged) == 15
    assert all("is not the record of" in finding.message for finding in damaged)
