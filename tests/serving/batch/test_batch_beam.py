"""Many clips by Apache Beam's DirectRunner."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
import videos

from ccsn_tf.config import DataConfig
from ccsn_tf.errors import UserError
from ccsn_tf.serving.batch.backends import choose
from ccsn_tf.serving.batch.plan import BatchSettings, videos_of_folder
from ccsn_tf.serving.batch.run import predict_all

pytest.importorskip("apache_beam", reason="the extra `beam` is not installed")

from ccsn_tf.serving.batch.beam import predict_by_beam

SETTINGS = BatchSettings(all_scores=True, batch_size=2, workers=2, rows_a_part=2)
IN_MEMORY = DataConfig(runner="DirectRunner", beam_args="--direct_running_mode=in_memory --direct_num_workers=1")


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    """Five videos, and one that is none."""
    root = tmp_path_factory.mktemp("beam") / "videos"
    for number in range(5):
        videos.write_video(root / f"{number}.avi", videos.moving(6 + number, seed=number))
    (root / "bad.avi").write_text("no video")
    return videos_of_folder(str(root))


@pytest.fixture(scope="module")
def export(onnx_export):
    return choose([str(onnx_export("fp32").path)])


def rows_of(output):
    lines = [line for path in sorted(pathlib.Path(output).glob("*.jsonl")) for line in path.read_text().splitlines()]
    rows = {row["video"]: row for row in map(json.loads, lines)}
    assert len(rows) == len(lines), "a clip has two rows"
    return rows


def agree(found, expected):
    assert found.keys() == expected.keys()
    for name, row in expected.items():
        assert found[name].keys() == row.keys() and found[name].get("error") == row.get("error")
        np.testing.assert_allclose(found[name].get("scores", []), row.get("scores", []), atol=1e-6)


@pytest.fixture(scope="module")
def expected(items, export, tmp_path_factory):
    output = tmp_path_factory.mktemp("local") / "predictions"
    predict_all(items, export, str(output), SETTINGS)
    return rows_of(output)


def test_several_processes_predict_what_the_local_runner_predicts(items, export, expected, tmp_path):
    runner, seen = DataConfig(runner="DirectRunner", workers=2), []
    summary = predict_by_beam(items, export, str(tmp_path), SETTINGS, runner, lambda *counts: seen.append(counts))
    assert (summary["clips"], summary["predicted"], summary["failed"], summary["now"]) == (6, 5, 1, 6)
    assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == [f"part-0000{number}.jsonl" for number in range(3)]
    agree(rows_of(tmp_path), expected)
    assert seen == [(0, 6, 0), (6, 6, 1)]


def test_local_and_beam_go_on_where_the_other_stopped(items, export, expected, tmp_path):
    half = dataclasses.replace(items, items=items.items[:2])
    assert predict_all(half, export, str(tmp_path), SETTINGS)["now"] == 2
    assert predict_by_beam(items, export, str(tmp_path), SETTINGS, IN_MEMORY)["now"] == 4
    (tmp_path / "part-00000.jsonl").unlink()
    assert predict_all(items, export, str(tmp_path), SETTINGS)["now"] == 2
    agree(rows_of(tmp_path), expected)
    assert predict_by_beam(items, export, str(tmp_path), SETTINGS, IN_MEMORY)["now"] == 0


def test_mistakes(items, export, tmp_path):
    for folder, changes, words in (
        ("nowhere://p", {}, "--output_dir=nowhere://p is out of reach"),
        (str(tmp_path), {"beam_args": "--color=red"}, "--beam_args names color, which Apache Beam does not know"),
        (str(tmp_path), {"runner": "DataflowRunner", "beam_args": ""}, "--runner=DataflowRunner ended: .*project"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            predict_by_beam(items, export, folder, SETTINGS, dataclasses.replace(IN_MEMORY, **changes))
        assert "\n" not in str(caught.value)
