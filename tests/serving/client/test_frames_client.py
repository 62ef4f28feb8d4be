"""The model that takes frames, asked by the client, without a server, and in batches: no flow is computed for it."""

import json

import kept_models
import numpy as np
import pytest
from serving_stand_in import StandIn

from ccsn_tf.data import views
from ccsn_tf.serving.batch.backends import choose
from ccsn_tf.serving.batch.run import BatchSettings, Items, clips_of_records, predict_all, videos_of_folder
from ccsn_tf.serving.client.client import Client
from ccsn_tf.serving.client.clip_input import jpeg_inputs
from ccsn_tf.serving.local import LocalModel
from ccsn_tf.serving.metadata import client_config


@pytest.fixture(scope="module")
def client(exported_frames):
    with StandIn(str(exported_frames.folder)) as server:
        made = Client(f"localhost:{server.grpc_port}", timeout=60)
        yield made
        made.close()


@pytest.fixture(autouse=True)
def no_flow(monkeypatch):
    def refuse(_):
        raise AssertionError("flow is computed")

    monkeypatch.setattr(views, "make_estimator", refuse)


def test_a_video_is_classified_with_and_without_a_server(client, exported_frames, moving_video):
    answer, metadata = client.classify_video(moving_video), exported_frames.metadata
    inputs = jpeg_inputs(moving_video, client_config(metadata), metadata["segments"])
    assert {name: value.shape for name, value in inputs.items()} == {"frames": (3, 3)}
    model = kept_models.load_saved_model(str(exported_frames.path))
    expected = model.signatures["jpeg_frames"](frames=inputs["frames"][None])
    np.testing.assert_allclose(answer["scores"], expected["scores"][0], atol=1e-6)
    assert answer["top_labels"][0] == metadata["classes"][int(np.argmax(answer["scores"]))]
    local = LocalModel(str(exported_frames.folder)).classify_video(moving_video)
    np.testing.assert_allclose(local["scores"], answer["scores"], atol=1e-6)
    assert local["top_labels"].tolist() == answer["top_labels"].tolist()


def test_batches_of_videos_and_of_records_have_the_client_s_scores(client, exported_frames, frames_config, tmp_path):
    export, settings = choose([str(exported_frames.folder)]), BatchSettings(all_scores=True, batch_size=2, workers=1)
    data, config = frames_config.data, client_config(exported_frames.metadata)
    found = {"videos": videos_of_folder(data.video_dir), "records": clips_of_records(data.record_dir, 1, "all", config)}
    rows = {}
    for name, items in found.items():
        some = tuple(item for item in items.items if "g01" in item.name)
        summary = predict_all(Items(items.source, some), export, str(tmp_path / name), settings)
        assert summary["predicted"] == len(some) == 2
        lines = map(json.loads, (tmp_path / name / "predictions.jsonl").read_text().splitlines())
        rows[name] = {row["video"].removesuffix(".avi"): row["scores"] for row in lines}
    assert rows["videos"].keys() == rows["records"].keys()
    for name, scores in rows["records"].items():
        np.testing.assert_allclose(rows["videos"][name], scores, atol=1e-5)
        answer = client.classify_video(f"{data.video_dir}/{name}.avi")
        np.testing.assert_allclose(answer["scores"], scores, atol=1e-5)
    assert np.ptp(list(rows["records"].values()), axis=0).max() > 1e-3  # the clips differ by more
