"""Records of frames alone, and of the flow that the network would compute itself."""

import dataclasses

import numpy as np
import pytest
from moving_frames import moving

from ccsn_tf.config import Config, ModelConfig
from ccsn_tf.data.augment import view_boxes
from ccsn_tf.data.checks.records import check_records
from ccsn_tf.data.flow import make_estimator
from ccsn_tf.data.pipeline import evaluation_views, training_batches
from ccsn_tf.data.plan import training_plan
from ccsn_tf.data.prepare.prepare import prepare
from ccsn_tf.data.records.manifest import Manifest
from ccsn_tf.data.snippets import record_frames
from ccsn_tf.data.transform import network_input
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.predict import video_views
from ccsn_tf.models.flow import TVL1Flow


@pytest.fixture(scope="module")
def config(tiny_data, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("frames") / "records")
    data = dataclasses.replace(tiny_data, flow="none", record_dir=folder)
    prepare(data, min_fields=5)
    return Config(data=data, model=ModelConfig(flow_source="graph", image_size=36, num_segments=2))


@pytest.fixture(scope="module")
def manifest(config):
    return Manifest.read(config.data.record_dir)


def test_same_clips_without_flow(config, manifest, tiny_manifest):
    assert [clip.name for clip in manifest.clips] == [clip.name for clip in tiny_manifest.clips]
    assert {clip.fields for clip in manifest.clips} == {13}
    assert sum(manifest.shards.values()) < sum(tiny_manifest.shards.values())


def test_frames_are_read_from_either_kind_of_record(config, manifest, tiny_data, tiny_manifest):
    starts = np.array([0, 3, 8])
    for ours, theirs in zip(manifest.clips, tiny_manifest.clips, strict=True):
        read = [
            record_frames(f"{folder}/{clip.shard}", clip.offset, clip.length, clip.fields, starts, 5)
            for folder, clip in ((config.data.record_dir, ours), (tiny_data.record_dir, theirs))
        ]
        np.testing.assert_array_equal(*read)


def test_training_batches_are_mirrored_snippets(config, manifest):
    classes, clips = manifest.select(config.data, "train")
    plan = training_plan(clips, classes, config.data, config.model, seed=0, epoch=0)
    for number, (inputs, _) in enumerate(training_batches(plan, config.model).as_numpy_iterator()):
        assert inputs["frames"].shape == (6, 2, 6, 36, 36, 3)
        for row, frames in enumerate(inputs["frames"]):
            item = {name: values[number, row] for name, values in plan.items()}
            where = [item[name] for name in ("file", "offset", "length", "fields", "starts")]
            snippets = record_frames(*where, 5)
            for place in range(6):  # each frame is what the spatial stream would be given of it
                chosen = [snippet[place] for snippet in snippets]
                blank = [[np.zeros((2, *frame.shape[:2]), np.uint8)] for frame in chosen]
                expected, _ = network_input(chosen, blank, item["box"], item["mirrored"], 36)
                np.testing.assert_array_equal(frames[:, place], expected)
    assert plan["mirrored"].any() and not plan["mirrored"].all()


def test_flow_of_a_mirrored_snippet_is_mirrored():
    frames = moving((1.5, 0.5), 32, 40)[None]
    fields, turned = (np.asarray(TVL1Flow()(each)) for each in (frames, frames[..., ::-1]))
    # Not to the last pixel: forward differences of the field look one way.
    np.testing.assert_allclose(np.median(turned, axis=(0, 1, 2)), [-1.5, 0.5], atol=0.1)
    assert np.abs(turned - fields[:, :, ::-1] * np.float32([-1, 1])).mean() < 0.1


def test_views_of_a_video_are_those_of_its_record(config, manifest, tiny_set):
    classes, clips = manifest.select(config.data, "test")
    clip = clips[0]
    (view,) = evaluation_views([clip], classes, config.data.record_dir, config.model, 3, 3).as_numpy_iterator()
    asked = config.replace(test_segments=3, test_crops=3)
    path = next((tiny_set / "videos").rglob(f"{clip.name.split('/')[-1]}.*"))
    of_video = video_views(str(path), asked)["frames"]
    assert view["frames"].shape == of_video.shape == (3, 3, 6, 36, 36, 3)
    assert np.corrcoef(view["frames"].ravel(), of_video.ravel())[0, 1] > 0.95  # JPEG between
    assert len(view_boxes(36, 48, 3)) == 3


def test_check_finds_nothing_wrong(config, manifest, tiny_data, tiny_manifest):
    assert not list(check_records(config, manifest, True, lambda done, total: None))
    claims_flow = dataclasses.replace(manifest, settings=tiny_manifest.settings)
    refused, *damaged = check_records(config, claims_flow, False, lambda done, total: None)
    assert refused.kind == "refused by train.py" and len(damaged) == 15
    assert all("14 frames and 0 fields, not" in finding.message for finding in damaged)


def test_other_flow_is_refused(config, manifest):
    with pytest.raises(UserError, match=r"--flow=dis, but the records in .* were made with flow=none: pass --flow="):
        manifest.select(dataclasses.replace(config.data, flow="dis"), "train")


def test_estimator_is_the_layer():
    config = Config().replace(flow="tvl1_graph").data
    frames = np.rint(moving((1.0, 0.5), 24, 30)).astype("uint8")
    field = make_estimator(config)(*frames)
    assert field.dtype == np.float32
    np.testing.assert_allclose(field, TVL1Flow()(frames[None])[0], atol=1e-2)
    with pytest.raises(UserError, match="computes no flow"):
        make_estimator(Config().replace(flow="none", flow_source="graph").data)(*frames)
