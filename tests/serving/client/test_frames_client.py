"""The model that takes frames, asked by the client, without a server, and in batches: no flow is computed for it."""

import json

import frames_requests
import kept_models
import numpy as np
import pytest
import videos
from serving_stand_in import StandIn

from ccsn_tf.data import views
from ccsn_tf.data.video import VideoError
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.predict import predict_video
from ccsn_tf.serving.batch.backends import choose
from ccsn_tf.serving.batch.plan import BatchSettings, clips_of_records, videos_of_folder
from ccsn_tf.serving.batch.run import predict_all
from ccsn_tf.serving.client.client import Client, ServingError, jpeg_inputs
from ccsn_tf.serving.client.config import client_config
from ccsn_tf.serving.client.local import LocalModel


@pytest.fixture(scope="module")
def server(exported_frames):
    with StandIn(str(exported_frames.folder)) as started:
        yield started


@pytest.fixture(scope="module", params=["grpc", "rest"])
def client(server, request):
    made = Client(
        f"localhost:{server.grpc_port}" if request.param == "grpc" else f"http://localhost:{server.rest_port}",
        timeout=60,
    )
    yield made
    made.close()


@pytest.fixture(autouse=True)
def no_flow(monkeypatch):
    def refuse(_):
        raise AssertionError("flow is computed")

    monkeypatch.setattr(views, "make_estimator", refuse)


def rows_of(output):
    rows = map(json.loads, (output / "predictions.jsonl").read_text().splitlines())
    return {row["video"]: row["scores"] for row in rows}


def test_a_video_is_classified(client, exported_frames, moving_video):
    answer, metadata = client.classify_video(moving_video), exported_frames.metadata
    inputs = jpeg_inputs(moving_video, client_config(metadata), metadata["segments"])
    assert {name: value.shape for name, value in inputs.items()} == {"frames": (3, 3)}
    model = kept_models.load_saved_model(str(exported_frames.path))
    expected = model.signatures["jpeg_frames"](frames=inputs["frames"][None])
    np.testing.assert_allclose(answer["scores"], expected["scores"][0], atol=1e-6)
    assert answer["top_labels"][0] == metadata["classes"][int(np.argmax(answer["scores"]))]
    of_keras = predict_video(moving_video, kept_models.make_forward(exported_frames.model), exported_frames.config)
    np.testing.assert_allclose(answer["scores"], of_keras["fused"], atol=0.02)  # but for the JPEGs
    np.testing.assert_allclose(answer["temporal_scores"], of_keras["temporal"], atol=0.02)


def test_a_video_without_a_server(server, exported_frames, moving_video, tmp_path):
    answer = LocalModel(str(exported_frames.folder)).classify_video(moving_video)
    expected = Client(f"localhost:{server.grpc_port}").classify_video(moving_video)
    np.testing.assert_allclose(answer["scores"], expected["scores"], atol=1e-6)
    with pytest.raises(UserError, match=f"--export_dir={tmp_path} holds no version of a model"):
        LocalModel(str(tmp_path))


@pytest.mark.parametrize(
    "name", ["frames: fewer frames", "frames: alpha", "jpeg_frames: mixed sizes", "jpeg_frames: grey"]
)
def test_what_is_refused_says_what_to_send(client, exported_frames, name):
    request, reason = frames_requests.hostile(exported_frames.metadata)[name]
    with pytest.raises(ServingError, match=reason) as caught:
        client.predict(request.signature, request.inputs)
    assert caught.value.code == "INVALID_ARGUMENT" and "\n" not in str(caught.value)


def test_a_video_of_too_few_frames(client, tmp_path):
    short = videos.write_video(tmp_path / "short.avi", videos.moving(2))
    with pytest.raises(VideoError, match=r"has 2 frames: a snippet of --flow_length=2 flow fields needs 3\.$"):
        client.classify_video(str(short))


def test_batches_of_videos_and_of_records_have_the_client_s_scores(server, exported_frames, frames_config, tmp_path):
    client = Client(f"localhost:{server.grpc_port}", timeout=60)
    export = choose([str(exported_frames.folder)])
    settings = BatchSettings(all_scores=True, batch_size=4, workers=1)
    config = client_config(exported_frames.metadata)
    data = frames_config.data
    of_videos = predict_all(videos_of_folder(data.video_dir), export, str(tmp_path / "videos"), settings)
    records = clips_of_records(data.record_dir, 1, "all", config)
    of_records = predict_all(records, export, str(tmp_path / "records"), settings)
    assert (of_videos["predicted"], of_records["predicted"]) == (10, 10)
    assert of_videos["seconds"].keys() == {"decode", "JPEG", "crop", "inference", "full"}
    rows = {name: rows_of(tmp_path / name) for name in ("videos", "records")}
    for name, scores in rows["records"].items():
        np.testing.assert_allclose(rows["videos"][f"{name}.avi"], scores, atol=1e-5)
        if name.endswith("g01_c01"):
            answer = client.classify_video(f"{data.video_dir}/{name}.avi")
            np.testing.assert_allclose(answer["scores"], scores, atol=1e-5)
    assert np.ptp(list(rows["records"].values()), axis=0).max() > 1e-3  # the clips differ by more
