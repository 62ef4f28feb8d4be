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


def test_a_list_has_every_path_once_relative_to_it_or_to_a_folder(tmp_path):
    path = tmp_path / "lists" / "list.txt"
    path.parent.mkdir()
    path.write_text("b.avi\n\n  a b.avi \nb.avi\n/abs/c.avi\n", encoding="utf-8")
    found = videos_of_list(str(path))
    assert [item.name for item in found.items] == ["b.avi", "a b.avi", "/abs/c.avi"]
    assert [item.path for item in found.items] == [f"{path.parent}/b.avi", f"{path.parent}/a b.avi", "/abs/c.avi"]
    found = videos_of_list(str(path), "videos")
    assert found.items[0].path == "videos/b.avi" and found.source == str(pathlib.Path("videos").absolute())


def test_a_list_as_windows_writes_it(tmp_path):
    for name in ("run/a b.avi", "run/c.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "list.txt").write_bytes('"run\\a b.avi"\r\nrun\\c.avi\r\nrun\\lost.avi\r\n'.encode("utf-16"))
    paths = [item.path for item in videos_of_list(str(tmp_path / "list.txt")).items]
    assert paths == [f"{tmp_path}/run/{name}" for name in ("a b.avi", "c.mp4", "lost.avi")]


def test_mistakes(tmp_path, tiny_data):
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
