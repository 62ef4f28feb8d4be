"""Many clips through exported models, as a program of one's own does it."""

import json
import pathlib
import shutil

import numpy as np
import pytest
import videos

from ccsn_tf.data.manifest import Manifest
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.protocol import make_forward
from ccsn_tf.serving.agreement import softmax
from ccsn_tf.serving.backends import choose
from ccsn_tf.serving.batch import BatchSettings, predict_all
from ccsn_tf.serving.batch_items import clips_of_records, videos_of_folder
from ccsn_tf.serving.client import Client
from ccsn_tf.serving.clips import Clips
from ccsn_tf.serving.metadata import client_config

SETTINGS = BatchSettings(all_scores=True, batch_size=4, workers=2)
NAMES = [f"{kind}/{number}.avi" for kind in ("left", "right") for number in range(5)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten videos of different lengths, four of them shorter than a clip has segments, and three that are none."""
    root = tmp_path_factory.mktemp("batch") / "videos"
    for number, name in enumerate(NAMES):
        videos.write_video(root / name, videos.moving(6 + 2 * number, seed=number))
    (root / "left" / "empty.avi").touch()
    (root / "left" / "text.mp4").write_text("no video")
    videos.write_video(root / "right" / "short.avi", videos.moving(3))
    (root / "right" / "notes.txt").touch()
    (root / ".hidden.avi").touch()
    return root


def rows_of(output):
    lines = (pathlib.Path(output) / "predictions.jsonl").read_text().splitlines()
    rows = {row["video"]: row for row in map(json.loads, lines)}
    assert len(rows) == len(lines), "a clip has two rows"
    return rows


def scores_of(rows, names):
    return np.array([rows[name]["scores"] for name in names])


@pytest.mark.parametrize("backend", ["saved_model", "onnx"])
def test_every_video_once_with_the_scores_that_the_server_gives(folder, tmp_path, exported, onnx_export, stand_in, backend):
    models = {"saved_model": str(exported.folder), "onnx": onnx_export("fp32").path}
    seen = []
    export = choose([models[backend]])
    summary = predict_all(
        videos_of_folder(str(folder)), export, str(tmp_path / "p"), SETTINGS, lambda *counts: seen.append(counts)
    )
    assert (summary["clips"], summary["predicted"], summary["failed"], summary["now"]) == (13, 10, 3, 13)
    rows, client = rows_of(tmp_path / "p"), Client(f"localhost:{stand_in.grpc_port}")
    assert sorted(rows) == sorted([*NAMES, "left/empty.avi", "left/text.mp4", "right/short.avi"])
    expected = [client.classify_video(str(folder / name)) for name in NAMES]
    np.testing.assert_allclose(scores_of(rows, NAMES), [answer["scores"] for answer in expected], atol=1e-5)
    for name, answer in zip(NAMES, expected, strict=True):
        assert [entry["class"] for entry in rows[name]["top"]] == answer["top_labels"].tolist()
    assert "right/short.avi has 3 frames" in rows["right/short.avi"]["error"] and "top" not in rows["right/short.avi"]
    assert seen[0] == (0, 13, 0) and seen[-1] == (13, 13, 3)
    assert {"decode", "flow", "JPEG", "crop", "inference", "full"} == summary["seconds"].keys()
    assert all(value >= 0 for value in summary["seconds"].values()) and summary["wall_seconds"] > 0
    assert json.loads((tmp_path / "p" / "about.json").read_text())["summary"] == summary
