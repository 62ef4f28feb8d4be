"""The benchmark of preparation and input: what it reports, not how fast; and that both sides read the same."""

import io
import json
import sys
import types

import numpy as np
import pytest
from videos import moving, write_video

from benchmarks import data, data_input, data_layouts, data_prepare, torch_loader
from ccsn_tf.config import Config
from ccsn_tf.data.pipeline import training_batches
from ccsn_tf.data.records.manifest import Manifest
from ccsn_tf.data.video import decode_whole, iter_frames
from ccsn_tf.errors import UserError


@pytest.fixture
def config(tiny_data):
    """The records of the tiny set, small input."""
    changes = {"video_dir": tiny_data.video_dir, "split_dir": tiny_data.split_dir, "record_dir": tiny_data.record_dir}
    return Config().replace(**changes, classes_per_batch=3, clips_per_class=2, image_size=24, num_segments=2)


@pytest.fixture
def case(config, tmp_path):
    """The tiny set's plan, and its images in folders."""
    classes, clips = Manifest.read(config.data.record_dir).select(config.data, "train")
    data_input.write_frame_folders(config.data.record_dir, clips, tmp_path, config.data.jpeg_quality)
    return data_input._make_case(config, classes, clips, 18, tmp_path)


def options(**changes):
    return types.SimpleNamespace(**{"torch_python": "", "data_copies": 2, "data_clips": 4, "data_rounds": 1, **changes})


@pytest.fixture
def small_videos(tmp_path):
    for label in ("left", "right"):
        write_video(tmp_path / "videos" / label / "one.avi", moving(8, height=48, width=64))
    return str(tmp_path / "videos")


def test_report_and_table(small_videos, monkeypatch):
    monkeypatch.setattr(data_input, "SEGMENTS", (2,))
    monkeypatch.setattr(data_input, "SIZES", (24,))
    for module in (data, data_prepare):
        monkeypatch.setattr(module, "LARGE", (96, 72))
    config = Config().replace(video_dir=small_videos, classes_per_batch=2, clips_per_class=2, test_fraction=0.5)
    report = data.run(config, options())
    assert list(report["prepare"]) == ["as they are", "96x72"]
    for rows in report["prepare"].values():
        assert list(rows) == list(data_prepare.FLOWS)
        for row in rows.values():
            assert row["whole"]["frames"] == 2 * 2 * 8 and 0 < row["whole"]["busy"] < 1.5
            assert set(row["stages"]) == set(data_prepare.STAGES) and row["stages"]["flow"] > 0
    (row,) = report["input"]["cases"].values()
    assert len(row["ours"]) == 1 and not row["torch"] and row["stages"]["decode"] > 0
    text = data.table(json.loads(json.dumps(report)))
    assert "| K = 2, 24 px | " in text and "PyTorch: skipped, since --torch_python is not given" in text
    assert sum(line.startswith("| 96x72 |") for line in text.splitlines()) == 2


def test_both_sides_read_the_same(case):
    plan = dict(np.load(case.path))
    clips = torch_loader.Clips(plan, case.config.model.image_size, case.config.model.flow_length)
    batches = list(training_batches(case.plan, case.config.model))
    assert len(clips) == case.plan["label"].size >= 18 and any(plan["mirrored"]) and not all(plan["mirrored"])
    for number in range(len(clips)):
        inputs, labels = batches[number // 6]
        frames, flow, label = clips[number]
        np.testing.assert_array_equal(frames, inputs["rgb"][number % 6])
        apart = np.abs(np.moveaxis(flow, 1, -1) - inputs["flow"][number % 6].numpy().astype(int))
        assert apart.mean() < 2 and label == labels[number % 6]  # flow is compressed once more


def test_different_batches_are_refused(case, tmp_path):
    inputs, labels = next(iter(training_batches(case.plan, case.config.model)))
    flow = np.moveaxis(inputs["flow"].numpy(), -1, 2)
    np.savez(tmp_path / "same.npz", rgb=inputs["rgb"], flow=flow, label=labels)
    data_input._refuse_difference(case, (inputs, labels), tmp_path / "same.npz")
    np.savez(tmp_path / "mirrored.npz", rgb=inputs["rgb"][:, :, :, ::-1], flow=flow, label=labels)
    with pytest.raises(UserError, match="the two sides read different batches"):
        data_input._refuse_difference(case, (inputs, labels), tmp_path / "mirrored.npz")


def test_missing_image(tmp_path):
    with pytest.raises(OSError, match=r"img_00003\.jpg cannot be read"):
        torch_loader.read_clip(str(tmp_path), np.array([0]), (0, 0, 8, 8), False, 8, 5)


def test_loader_of_pytorch(case, tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch", reason="PyTorch is not part of this environment; benchmark.py runs it in its own")
    model = case.config.model
    asked = {"plan": str(case.path), "first": str(tmp_path / "first.npz"), "batch": 6, "workers": 1}
    asked |= {"image_size": model.image_size, "flow_length": model.flow_length}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(asked) + "\n"))
    torch_loader.main()
    assert json.loads(capsys.readouterr().out.splitlines()[1])["clips"] == case.plan["label"].size
    data_input._refuse_difference(case, next(iter(training_batches(case.plan, model))), tmp_path / "first.npz")


@pytest.mark.parametrize(
    ("python", "sentence"),
    [
        ("/nowhere/python", r"^--torch_python=/nowhere/python cannot be run \(No such file or directory\): name an "),
        ("/bin/true", "^--torch_python ended early: it needs torch, numpy and opencv-python-headless"),
    ],
)
def test_python_that_is_of_no_use(python, sentence):
    with pytest.raises(UserError, match=sentence), data_input._Torch(python):
        pass


def test_resized_video_shows_the_same(tmp_path):
    frames = moving(14, height=48, width=64)
    write_video(tmp_path / "small.avi", frames)
    data_prepare.resize_video(tmp_path / "small.avi", tmp_path / "new" / "large.avi", (96, 72))
    assert decode_whole(tmp_path / "new" / "large.avi").frames == 14
    shown = np.stack(list(iter_frames(str(tmp_path / "new" / "large.avi"), 48)))
    apart, next_ones = np.abs(shown.astype(int) - frames), np.abs(np.diff(frames.astype(int), axis=0))
    assert shown.shape == frames.shape and apart.mean() < 0.5 * next_ones.mean()


def test_no_videos(tmp_path):
    with pytest.raises(UserError, match=r" has no <class>/<video>.avi: name a folder of UCF101's videos\.$"):
        data_prepare.find_videos(str(tmp_path))


def test_layouts(config, monkeypatch):
    monkeypatch.setattr(data_layouts, "scaled_size", lambda width, height, side: (width // 2, height // 2))
    report = data_layouts.measure_layouts(config, 6, 1)
    assert report["table"]["bytes"] < report["whole"]["bytes"]
    lengths = [clip.length for clip in Manifest.read(config.data.record_dir).clips]
    assert min(lengths) <= report["whole"]["bytes"] <= max(lengths)
    sizes = report["bytes_per_frame"]
    assert sizes["snippets side by side"] < sizes["whole clips"] < sizes["every snippet"]
    assert 0 < sizes["frames alone"] < sizes["whole clips"]
    field = report["field"]
    for smaller in ("at --flow_side", "with Huffman tables of its own"):
        assert field[smaller]["bytes"] < field["as stored"]["bytes"]
    assert all(row["milliseconds"] > 0 for row in field.values())
