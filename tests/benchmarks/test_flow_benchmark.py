"""The benchmark of flow settings on the tiny set, whose classes are directions of motion."""

import types

import numpy as np
import pytest

from benchmarks import flow
from benchmarks.probe import make_features
from ccsn_tf.config import Config, ModelConfig
from ccsn_tf.errors import UserError

CLASSES = ("MoveDown", "MoveLeft", "MoveRight")


@pytest.fixture
def config(tiny_set, published):
    return Config().replace(video_dir=str(tiny_set / "videos"), split_dir=str(tiny_set / "lists"), classes=CLASSES)


def options(**changes):
    return types.SimpleNamespace(
        **{"output": "", "probe_snippets": 2, "probe_groups": 0, "probe_setting": [], **changes}
    )


def test_report_and_table(config, tmp_path, monkeypatch):
    names = ["DIS medium, finest scale 0", "Farneback"]
    asked = options(probe_setting=names, output=str(tmp_path / "report.json"))
    network = make_features(ModelConfig(backbone="efficientnet_lite0", pretrained="imagenet", connection="none"))
    monkeypatch.setattr(flow, "make_features", lambda model: network)
    monkeypatch.setattr(flow, "_PAIRS", 3)
    report = flow.run(config, asked)
    assert list(report["settings"]) == names and report["num_clips"] == 15
    for name, row in report["settings"].items():
        assert row["changes"] == flow.SETTINGS[name]
        assert 0 < row["own"] < row["working"] < row["large"] and 300 < row["bytes"] < 5000
        assert set(row["accuracy"]) == {1, 2} and np.mean(list(row["accuracy"].values())) > 0.5
    lines = flow.table(report).splitlines()
    assert [line.split(" | ")[0] for line in lines[-2:]] == [f"| {name}" for name in names]

    def nothing(*_):
        raise AssertionError("features were there")

    monkeypatch.setattr(flow, "read_snippets", nothing)
    again = flow.run(config, asked)
    assert [row["accuracy"] for row in again["settings"].values()] == [
        row["accuracy"] for row in report["settings"].values()
    ]
    with pytest.raises(AssertionError, match="features were there"):  # those of other clips will not do
        flow.run(config, options(probe_setting=names, output=asked.output, probe_groups=2))


def test_views_are_the_stored_flow_and_its_mirror_image(config, tiny_set):
    path = next((tiny_set / "videos" / "MoveRight").glob("*.avi"))
    views, num_bytes = flow._views(str(path), config.replace(image_size=36), 2)
    views = views.numpy().astype(int)
    assert views.shape == (4, 36, 36, 10) and num_bytes > 100
    np.testing.assert_array_equal(views[2:, :, :, 0::2], 255 - views[:2, :, ::-1, 0::2])
    np.testing.assert_array_equal(views[2:, :, :, 1::2], views[:2, :, ::-1, 1::2])
    moved = views[:2, 8:-8, 8:-8].mean(axis=(0, 1, 2)).reshape(5, 2)
    np.testing.assert_allclose(moved, [[127.5 + 2 * 255 / 40, 127.5]] * 5, atol=1.5)


def test_unknown_setting(config):
    with pytest.raises(UserError, match=r"--probe_setting names DIS slow: choose among DIS ultrafast, as preset; "):
        flow.run(config, options(probe_setting=["DIS slow"]))


def test_too_few_groups_for_a_split(config):
    with pytest.raises(UserError, match=r"^Split 1 has no clip on one side: raise --probe_groups, or complete"):
        flow.run(config, options(probe_groups=1))


@pytest.mark.parametrize("changes", flow.SETTINGS.values(), ids=flow.SETTINGS)
def test_every_setting_is_a_configuration(changes):
    Config().replace(**changes)
