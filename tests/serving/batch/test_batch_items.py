import pathlib

import pytest

from ccsn_tf.config import Config
from ccsn_tf.errors import UserError
from ccsn_tf.serving.batch.plan import clips_of_records, videos_of_folder, videos_of_list


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


def test_a_list_has_every_path_once_relative_to_it_or_to_a_folder(tmp_path, monkeypatch):
    path = tmp_path / "lists" / "list.txt"
    path.parent.mkdir()
    path.write_text("b.avi\n\n  a b.avi \nb.avi\n/abs/c.avi\n", encoding="utf-8")
    found = videos_of_list(str(path))
    assert [item.name for item in found.items] == ["b.avi", "a b.avi", "/abs/c.avi"]
    assert [item.path for item in found.items] == [f"{path.parent}/b.avi", f"{path.parent}/a b.avi", "/abs/c.avi"]
    found = videos_of_list(str(path), "videos")
    assert found.items[0].path == "videos/b.avi" and found.source == str(pathlib.Path("videos").absolute())
    monkeypatch.chdir(path.parent)
    assert videos_of_list("list.txt").source == str(path.parent)


def test_a_list_as_windows_writes_it(tmp_path):
    for name in ("run/a b.avi", "run/c.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    text = '"run\\a b.avi"\r\nrun\\c.avi\r\nrun\\lost.avi\r\n'
    (tmp_path / "list.txt").write_bytes(text.encode("utf-16"))
    found = videos_of_list(str(tmp_path / "list.txt"))
    assert [item.path for item in found.items] == [
        f"{tmp_path}/run/{name}" for name in ("a b.avi", "c.mp4", "lost.avi")
    ]


def test_mistakes(tmp_path):
    (tmp_path / "other.txt").write_text("")
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    for read, words in (
        (lambda: videos_of_folder(f"{tmp_path}/absent"), "absent is no folder: name the folder of the videos"),
        (lambda: videos_of_folder(str(tmp_path)), r"holds no video: .* 3 \.txt"),
        (lambda: videos_of_list(f"{tmp_path}/absent.txt"), r"absent\.txt cannot be read \(No such file or directory\)"),
        (lambda: videos_of_list(f"{tmp_path}/empty.txt"), r"empty\.txt is empty: write the path of a video"),
        (lambda: videos_of_list(f"{tmp_path}/binary.txt"), r"binary\.txt is not a text file in UTF-8"),
    ):
        with pytest.raises(UserError, match=words):
            read()


def test_records_that_the_model_does_not_take(tiny_data):
    wanted = Config(data=tiny_data)
    assert len(clips_of_records(tiny_data.record_dir, 1, "all", wanted.replace(dataset="folder")).items) == 15
    with pytest.raises(
        UserError, match=r"was made with flow_bound=20\.0, and the model wants 10\.0: prepare the videos"
    ):
        clips_of_records(tiny_data.record_dir, 1, "test", wanted.replace(flow_bound=10.0))
    with pytest.raises(UserError, match=r"--split=7 is not in .*: give one of 1, 2"):
        clips_of_records(tiny_data.record_dir, 7, "test", wanted)
    with pytest.raises(UserError, match="holds no finished records"):
        clips_of_records(f"{tiny_data.record_dir}/absent", 1, "test", wanted)


def test_a_model_that_computes_flow_takes_records_of_any(tiny_data):
    wanted = Config(data=tiny_data).replace(flow_source="graph", flow="tvl1_graph", flow_bound=10.0)
    assert len(clips_of_records(tiny_data.record_dir, 1, "all", wanted).items) == 15
    with pytest.raises(UserError, match=r"was made with short_side=256, and the model wants 128: prepare the videos"):
        clips_of_records(tiny_data.record_dir, 1, "test", wanted.replace(short_side=128))
