"""The clips most like a video, by a real network of random weights and real records."""

import cv2
import numpy as np
import pytest

from ccsn_tf.errors import UserError
from ccsn_tf.evaluation import similar
from ccsn_tf.evaluation.similar import BY, Index, Searcher


@pytest.mark.parametrize("by", BY)
def test_the_nearest_are_those_of_a_plain_loop(by):
    rng = np.random.default_rng(0)
    unit = {stream: rng.normal(size=(41, 5)).astype("float32") for stream in ("spatial", "temporal")}
    unit = {stream: rows / np.linalg.norm(rows, axis=1, keepdims=True) for stream, rows in unit.items()}
    index = Index(np.array([f"c{n:02d}" for n in range(40)]), None, {name: rows[:40] for name, rows in unit.items()})
    streams = unit if by == "both" else (by,)
    cosines = [
        sum(sum(a * b for a, b in zip(unit[name][n], unit[name][40], strict=True)) for name in streams) / len(streams)
        for n in range(40)
    ]
    order = sorted(range(40), key=lambda n: -cosines[n])
    for count in (1, 7, 40, 99):
        found = index.nearest({name: rows[40] for name, rows in unit.items()}, by, count)
        assert [number for number, _ in found] == order[:count]
        np.testing.assert_allclose([alike for _, alike in found], [cosines[n] for n in order[:count]], atol=1e-6)


def test_a_training_video_is_most_like_its_own_clip(workdir_config, tiny_set, tiny_manifest, tmp_path, monkeypatch):
    path, shown = str(tmp_path / "made" / "index.npz"), []
    searcher = Searcher(workdir_config, path, lambda *done: shown.append(done))
    names = searcher.index.names.tolist()
    assert sorted(names) == sorted(tiny_manifest.splits[1]["train"]) and shown[-1] == (len(names), len(names))
    video = str(tiny_set / "videos" / f"{names[4]}.avi")
    found = searcher.search(video, count=3)
    assert found[0][0] == 4 and found[0][1] > 0.98  # the video is no JPEG
    assert searcher.index.labels[4] == names[4].partition("/")[0] and len(found) == 3
    searcher.draw(video, found, str(tmp_path / "sheet.png"))
    height, width = cv2.imread(str(tmp_path / "sheet.png")).shape[:2]
    assert width > height > 300
    made = (tmp_path / "made" / "index.npz").stat().st_mtime_ns
    monkeypatch.setattr(similar, "load_model", lambda path: None)  # it is not made again, nor needs a model to be read
    again = Searcher(workdir_config, path).index.nearest(
        {n: e[4] for n, e in searcher.index.embeddings.items()}, "both", 1
    )
    assert again[0][0] == 4 and (tmp_path / "made" / "index.npz").stat().st_mtime_ns == made


def test_what_is_no_index_of_the_model(workdir_config, tmp_path, monkeypatch):
    monkeypatch.setattr(similar, "load_model", lambda path: None)
    np.savez(tmp_path / "other.npz", model="0", names=["a"], labels=["b"])
    (tmp_path / "none.npz").write_bytes(b"PK\3\4")
    for name, words in (("other.npz", "by another model"), ("none.npz", "is no index")):
        with pytest.raises(UserError, match=f"--index=.*{name}.*{words}"):
            Searcher(workdir_config, str(tmp_path / name))
