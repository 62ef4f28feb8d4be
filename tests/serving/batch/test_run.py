"""Many clips through exported models, as a program of one's own does it."""

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys

import kept_models
import numpy as np
import pytest
import videos
from processes import full_disk
from worker_tasks import Deadly

from ccsn_tf.config import Config
from ccsn_tf.data.pipeline import evaluation_views
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.metrics import softmax
from ccsn_tf.files import only_process
from ccsn_tf.serving.batch.backends import choose
from ccsn_tf.serving.batch.run import (
    BatchSettings,
    Items,
    clips_of_records,
    predict_all,
    videos_of_folder,
    videos_of_list,
)
from ccsn_tf.serving.client.client import Client
from ccsn_tf.serving.metadata import client_config

SETTINGS = BatchSettings(all_scores=True, batch_size=4, workers=2)
NAMES = [f"{kind}/{number}.avi" for kind in ("left", "right") for number in range(3)]
BAD = ["left/empty.avi", "left/text.mp4", "right/short.avi"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six videos of different lengths, and three that cannot be used."""
    root = tmp_path_factory.mktemp("batch") / "videos"
    for number, name in enumerate(NAMES):
        videos.write_video(root / name, videos.moving(6 + 2 * number, seed=number))
    (root / "left" / "empty.avi").touch()
    (root / "left" / "text.mp4").write_text("no video")
    videos.write_video(root / "right" / "short.avi", videos.moving(3))
    (root / "right" / "notes.txt").touch()
    (root / ".hidden.avi").touch()
    return root


@pytest.fixture(scope="module")
def models(exported, onnx_export):
    files = {"onnx": str(onnx_export("fp32").path), "other": str(onnx_export("fp16").path)}
    return {"saved_model": str(exported.folder), **files}


@pytest.fixture(scope="module")
def finished(folder, models, tmp_path_factory):
    """A folder with the predictions of all videos by the ONNX file."""
    output = tmp_path_factory.mktemp("finished") / "predictions"
    predict_all(videos_of_folder(str(folder)), choose([models["onnx"]]), str(output), SETTINGS)
    return output


@pytest.fixture
def predicted(folder, models, finished, tmp_path):
    """A copy of it, and how to go on with it."""
    output = shutil.copytree(finished, tmp_path / "predictions")

    def go_on(settings=SETTINGS, videos=folder, model="onnx"):
        return predict_all(videos_of_folder(str(videos)), choose([models[model]]), str(output), settings)

    return output, go_on


def rows_of(output):
    lines = (pathlib.Path(output) / "predictions.jsonl").read_text().splitlines()
    rows = {row["video"]: row for row in map(json.loads, lines)}
    assert len(rows) == len(lines), "a clip has two rows"
    return rows


def test_every_video_once_with_the_scores_that_the_server_gives(folder, tmp_path, models, stand_in):
    seen, output = [], tmp_path / "predictions"
    export = choose([models["onnx"]])
    items = videos_of_folder(f"{folder}/")
    assert (items.source, items.note) == (str(folder), "Not recognised: 1 .txt, 1 hidden.")
    summary = predict_all(items, export, str(output), SETTINGS, lambda *counts: seen.append(counts))
    assert (summary["clips"], summary["predicted"], summary["failed"], summary["now"]) == (9, 6, 3, 9)
    rows, client = rows_of(output), Client(f"localhost:{stand_in.grpc_port}")
    assert sorted(rows) == sorted(NAMES + BAD)
    for name in NAMES:
        answer = client.classify_video(str(folder / name))
        np.testing.assert_allclose(rows[name]["scores"], answer["scores"], atol=1e-5)
        assert [entry["class"] for entry in rows[name]["top"]] == answer["top_labels"].tolist()
    assert all(rows[name].keys() == {"video", "error"} and str(folder / name) in rows[name]["error"] for name in BAD)
    assert seen[0] == (0, 9, 0) and seen[-1] == (9, 9, 3)


def test_records_and_their_videos_have_the_scores_of_keras(exported, models, tiny_data, tiny_manifest, tmp_path):
    """With the other backend."""
    config, export = client_config(exported.metadata), choose([models["saved_model"]])
    items = clips_of_records(tiny_data.record_dir, 1, "all", config)
    predict_all(items, export, str(tmp_path / "records"), SETTINGS)
    of_videos = videos_of_folder(tiny_data.video_dir)
    some = dataclasses.replace(of_videos, items=of_videos.items[::5])
    predict_all(some, export, str(tmp_path / "videos"), SETTINGS)
    clips, forward = tiny_manifest.clips, kept_models.make_forward(exported.model)
    views = evaluation_views(clips, tiny_manifest.classes, tiny_data.record_dir, config.model, 3, 1)
    wanted = [softmax(forward({name: view[name] for name in ("rgb", "flow")})["logits"].numpy())[0] for view in views]
    rows = rows_of(tmp_path / "records")
    assert sorted(rows) == sorted(clip.name for clip in clips) and len(clips) == 15
    np.testing.assert_allclose([rows[clip.name]["scores"] for clip in clips], wanted, atol=1e-5)
    assert np.ptp(wanted, axis=0).max() > 1e-3  # the clips differ by more
    for name, row in rows_of(tmp_path / "videos").items():
        np.testing.assert_allclose(row["scores"], rows[name.removesuffix(".avi")]["scores"], atol=1e-5)
    items = clips_of_records(tiny_data.record_dir, 2, "test", config)
    assert sorted(item.name for item in items.items) == sorted(tiny_manifest.splits[2]["test"])


def test_what_is_done_is_not_done_again(predicted):
    output, go_on = predicted
    path = output / "predictions.jsonl"
    before, about = path.read_bytes(), (output / "about.json").read_bytes()
    assert go_on()["now"] == 0 and path.read_bytes() == before and (output / "about.json").read_bytes() == about
    end = before.index(b"\n", len(before) // 2) + 1
    for torn in (0, end + 1, len(before) - 1):  # of a killed run
        path.write_bytes(before[:torn])
        assert go_on()["now"] == 9 - before[:torn].count(b"\n")
        assert sorted(rows_of(output)) == sorted(NAMES + BAD)
        assert path.read_bytes().startswith(before[: before.rfind(b"\n", 0, torn) + 1])
    # A line that somebody deletes is made again.
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if '"error"' not in line))
    summary = go_on()
    assert (summary["now"], summary["failed"], summary["predicted"]) == (3, 3, 6)


def test_what_was_begun_otherwise_is_refused(predicted, folder, tmp_path):
    output, go_on = predicted
    before = (output / "predictions.jsonl").read_bytes()
    shutil.copytree(folder, tmp_path / "elsewhere")
    for words, changes in (
        ("segments 3, and this is 2", {"settings": dataclasses.replace(SETTINGS, segments=2)}),
        (r"source .*videos, and this is .*elsewhere", {"videos": tmp_path / "elsewhere"}),
        ("backend onnx, and this is saved_model", {"model": "saved_model"}),
        (r"model \w{64}, and this is \w{64}", {"model": "other"}),
    ):
        with pytest.raises(UserError, match=f"begun with {words}: choose another --output_dir, or go on"):
            go_on(**changes)
    assert (output / "predictions.jsonl").read_bytes() == before
    assert go_on(settings=dataclasses.replace(SETTINGS, batch_size=1, workers=1))["now"] == 0
    with only_process(output), pytest.raises(UserError, match=f"in use by process {os.getpid()} on "):
        go_on()


@pytest.mark.parametrize(
    "name, content",
    [("predictions.jsonl", '{"video": "a"}\n{"vid\n'), ("predictions.jsonl", '["video"]\n'), ("about.json", "{")],
)
def test_damaged_output(predicted, name, content):
    output, go_on = predicted
    (output / name).write_text(content)
    with pytest.raises(UserError, match=f"{name} is damaged or none of ours"):
        go_on()
    assert (output / name).read_text() == content


def test_full_disk(predicted):
    output, go_on = predicted
    path = output / "predictions.jsonl"
    path.unlink()
    sentence = r"predictions\.jsonl cannot be written \(File too large\): free space"
    with full_disk(800), pytest.raises(UserError, match=sentence):
        go_on()
    assert 0 < path.stat().st_size <= 800
    go_on()
    assert sorted(rows_of(output)) == sorted(NAMES + BAD)


def test_without_tensorflow_and_reporting_to_nobody(models, folder, tmp_path):
    """The wheels of ONNX Runtime, from 1.29 on, would report, and keep that in the home folder."""
    code = """if True:
        import sys
        from ccsn_tf.serving.batch.backends import choose
        from ccsn_tf.serving.batch.run import BatchSettings, predict_all, videos_of_folder
        summary = predict_all(videos_of_folder(sys.argv[1]), choose([sys.argv[2]]), sys.argv[3], BatchSettings())
        assert summary["predicted"] == 6
        assert not {"tensorflow", "keras"} & sys.modules.keys(), "they take seconds and memory"
    """
    arguments = [sys.executable, "-c", code, str(folder), models["onnx"], str(tmp_path / "p")]
    kept = {name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "CI")}
    (tmp_path / "home").mkdir()
    subprocess.run(arguments, check=True, timeout=120, env={**kept, "HOME": f"{tmp_path}/home"})
    assert not list((tmp_path / "home").rglob("*"))


def test_mistakes_leave_the_folder_alone(folder, models, tmp_path):
    settings = dataclasses.replace(SETTINGS, batch_size=100)
    with pytest.raises(UserError, match=r"--batch_size=100 clips of 3 segments are more than the 256 .* to 85"):
        predict_all(videos_of_folder(str(folder)), choose([models["saved_model"]]), str(tmp_path / "p"), settings)
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(UserError, match=r"holds other files \(thesis\.txt\)"):
        predict_all(videos_of_folder(str(folder)), choose([models["onnx"]]), str(tmp_path), SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_clips_that_end_their_worker_or_make_it_hang(folder, models, tmp_path):
    good = videos_of_folder(str(folder)).items[:2]
    deadly = [Deadly("segv", "dies"), Deadly("sleep", "hangs"), Deadly("key", "raises")]
    settings = dataclasses.replace(SETTINGS, stall_seconds=2.0)
    items = Items("/source", (*deadly, *good))
    summary = predict_all(items, choose([models["onnx"]]), str(tmp_path / "p"), settings)
    assert (summary["predicted"], summary["failed"]) == (2, 3)
    rows = rows_of(tmp_path / "p")
    assert rows["segv"]["error"] == "segv: its process was killed by SIGSEGV"
    assert rows["sleep"]["error"] == "sleep: no progress for 2 s (--stall_seconds)"
    assert rows["key"]["error"] == "key: KeyError: 'no such thing' (a defect, please report it)"


def test_names_of_any_bytes(folder, models, tmp_path):
    name = os.fsdecode(b"caf\xe9 \xe2\x80\xa8.avi")
    (tmp_path / "videos").mkdir()
    shutil.copy(folder / NAMES[0], tmp_path / "videos" / name)
    items, export = videos_of_folder(f"{tmp_path}/videos"), choose([models["onnx"]])
    for now in (1, 0):
        assert predict_all(items, export, str(tmp_path / "p"), SETTINGS)["now"] == now
    assert list(rows_of(tmp_path / "p")) == [name]


def test_a_folder_has_the_videos_below_it(tmp_path):
    for name in ("b/x.avi", "a.MP4", "b/c/y.mkv", "notes.txt", ".a.avi", ".cache/z.avi"):
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = videos_of_folder(f"{tmp_path}/videos/")
    assert [item.name for item in found.items] == ["a.MP4", "b/c/y.mkv", "b/x.avi"]
    assert all(pathlib.Path(item.path).is_file() for item in found.items)
    assert found.note == "Not recognised: 2 hidden, 1 .txt."
    assert found.source == str(tmp_path / "videos")


def test_a_list_has_every_path_once_relative_to_it_or_to_a_folder(tmp_path):
    path = tmp_path / "lists" / "list.txt"
    path.parent.mkdir()
    path.write_text("b.avi\n\n  a b.avi \nb.avi\n/abs/c.avi\n", encoding="utf-8")
    (path.parent / "a b.mp4").touch()
    found = videos_of_list(str(path))
    assert [item.name for item in found.items] == ["b.avi", "a b.avi", "/abs/c.avi"]
    assert [item.path for item in found.items] == [f"{path.parent}/b.avi", f"{path.parent}/a b.mp4", "/abs/c.avi"]
    found = videos_of_list(str(path), "videos")
    assert found.items[0].path == "videos/b.avi" and found.source == str(pathlib.Path("videos").absolute())


def test_a_list_as_windows_writes_it(tmp_path):
    for name in ("run/a b.avi", "run/c.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "list.txt").write_bytes('"run\\a b.avi"\r\nrun\\c.avi\r\nrun\\lost.avi\r\n'.encode("utf-16"))
    paths = [item.path for item in videos_of_list(str(tmp_path / "list.txt")).items]
    assert paths == [f"{tmp_path}/run/{name}" for name in ("a b.avi", "c.mp4", "lost.avi")]


def test_clips_that_are_not_there(tmp_path, tiny_data):
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    records, wanted = tiny_data.record_dir, Config(data=tiny_data)
    for words, read, *arguments in (
        ("--video_dir=.*absent is no folder", videos_of_folder, f"{tmp_path}/absent"),
        (r"--video_dir=.* holds no video: .* 2 \.txt", videos_of_folder, str(tmp_path)),
        (r"absent\.txt cannot be read", videos_of_list, f"{tmp_path}/absent.txt"),
        (r"empty\.txt is empty", videos_of_list, f"{tmp_path}/empty.txt"),
        (r"binary\.txt is not a text file", videos_of_list, f"{tmp_path}/binary.txt"),
        (r"flow_bound=20\.0, .* wants 10\.0", clips_of_records, records, 1, "test", wanted.replace(flow_bound=10.0)),
        (r"--split=7 is not in .*: give one of 1, 2", clips_of_records, records, 7, "test", wanted),
        ("holds no finished records", clips_of_records, f"{records}/absent", 1, "test", wanted),
    ):
        with pytest.raises(UserError, match=words):
            read(*arguments)


def test_records_of_other_settings_that_do_not_matter(tiny_data):
    wanted = Config(data=tiny_data)
    assert len(clips_of_records(tiny_data.record_dir, 1, "all", wanted.replace(dataset="folder")).items) == 15
    frames = wanted.replace(flow_source="graph", flow="tvl1_graph", flow_bound=10.0)  # the model computes flow itself
    assert len(clips_of_records(tiny_data.record_dir, 1, "all", frames).items) == 15
    with pytest.raises(UserError, match="short_side=256, and the model wants 128"):
        clips_of_records(tiny_data.record_dir, 1, "test", frames.replace(short_side=128))
