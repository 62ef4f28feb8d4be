import json
import pathlib

import numpy as np
import pytest

from ccsn_tf.config import Config
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.ablate import Cell, check_finished, collect, grid, write_table
from ccsn_tf.evaluation.protocol import protocol_in_words
from ccsn_tf.training.workdir import lock_workdir

LABELS = np.array([0, 1, 0, 1])


def scores(right, certain=2.0):
    """Logits (4, 2) of two classes that are right about the clips in `right`."""
    towards = np.where(np.isin(np.arange(4), right), LABELS, 1 - LABELS)
    return certain * np.eye(2)[towards]


def finish(cell, root, right, spatial=(), temporal=(), certain=2.0, **changes):
    workdir = cell.workdir(root)
    workdir.mkdir()
    logits = {"spatial": scores(spatial), "temporal": scores(temporal, certain), "fused": scores(right)}
    ids = {"labels": LABELS, "names": np.array(["p", "q", "r", "s"]), "classes": np.array(["x", "y"])}
    np.savez(workdir / "scores.npz", **{**ids, **logits})
    report = {"dataset": "demo", "protocol": "3 segments", "num_clips": 4}
    report |= {"spatial": {"top1": len(spatial) / 4}, "temporal": {"top1": len(temporal) / 4}}
    ways = {way: {"recall_at_1": recall} for way, recall in (("flow_to_rgb", 0.5), ("rgb_to_flow", 1.0))}
    report["embeddings"] = {"retrieval": ways, "variation": {"cross": 0.9}}
    (workdir / "evaluation.json").write_text(json.dumps({**report, **changes}))
    (workdir / "history.csv").write_text("epoch,seconds\n1,2.5\n2,3.5\n")


def test_rows_of_the_first_seed_come_first():
    cells = grid(["a: --connection=none", "b: --connection=sum --position=mlp"], [1], [0, 1]).cells
    assert [(cell.name, cell.seed) for cell in cells] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert cells[1].flags == ("--connection=sum", "--position=mlp")
    assert cells[3].workdir(pathlib.Path("r")) == pathlib.Path("r/b-split1-seed1")


def test_a_row_can_have_splits_and_seeds_of_its_own():
    table = grid(["a: --x=1", "b [1:0,2 3:0]: --y=a:b", "c = a.spatial + b.temporal"], [1, 2], [0])
    places = [(cell.name, cell.split, cell.seed) for cell in table.cells]
    assert places == [("a", 1, 0), ("b", 1, 0), ("a", 2, 0), ("b", 3, 0), ("b", 1, 2)]
    assert table.cells[1].flags == ("--y=a:b",)
    assert table.rows == {"a": (("a", "fused"),), "b": (("b", "fused"),), "c": (("a", "spatial"), ("b", "temporal"))}


def test_flags_can_name_the_runs_of_other_rows():
    cell = Cell("joint", ("--init_spatial={root}/rgb-split{split}-seed{seed}", "--x={other}"), 3, 7)
    assert cell.flags_below(pathlib.Path("a/b")) == ["--init_spatial=a/b/rgb-split3-seed7", "--x={other}"]


@pytest.mark.parametrize(
    "variant",
    ["no flags", "a: connection=none", ": --x", "a/b: --x=1", "a [1]: --x=1", "a [1:x]: --x=1", "a = b", "a = b.both"],
)
def test_malformed_rows_are_refused(variant):
    with pytest.raises(UserError, match="--grid"):
        grid([variant], [1], [0])


def test_names_must_differ():
    with pytest.raises(UserError, match="names a twice"):
        grid(["a: --x=1", "a: --x=2"], [1], [0])


def test_a_fusion_of_rows_that_are_not_there_is_refused():
    with pytest.raises(UserError, match="late is made of b"):
        grid(["a: --x=1", "late = a.spatial + b.temporal"], [1], [0])


def test_mean_and_sample_deviation_over_seeds(tmp_path):
    table = grid(["a: --connection=none", "b: --connection=sum"], [1], [0, 1, 2])
    for cell, right in zip([c for c in table.cells if c.name == "a"], ([0, 1], [0], [0, 1, 2]), strict=True):
        finish(cell, tmp_path, right)
    finish(table.cells[1], tmp_path, [0, 1, 2, 3])
    found = collect(table, tmp_path)
    row = found["rows"]["a"]
    assert row["splits"] == {1: {"mean": 0.5, "deviation": 0.25, "count": 3, "values": [0.5, 0.25, 0.75]}}
    assert row["seconds"] == 6.0 and row["recall_at_1"] == 0.75 and row["variation"] == 0.9
    assert found["rows"]["b"]["splits"][1]["deviation"] is None
    text = write_table(found, tmp_path)
    assert "| a | 50.0 +- 25.0 (3) | 0.0 | 0.0 | 75.0 | 0.90 | 6 |" in text and "| b | 100.0 (1) |" in text
    written = json.loads((tmp_path / "ablation.json").read_text())
    assert written["rows"]["a"]["splits"]["1"] == row["splits"][1]


def test_every_split_counts_alike_in_the_mean(tmp_path):
    table = grid(["a [1:0,1 2:0]: --x=1", "b [1:0]: --x=2"], [], [])
    for cell in table.cells:
        finish(cell, tmp_path, [0, 1, 2, 3] if cell.split == 2 else [0, 1])
    found = collect(table, tmp_path)
    assert found["rows"]["a"]["mean"] == 0.75
    assert found["rows"]["a"]["deviation"] == pytest.approx(0.5 / 2**0.5)
    assert "| a | 50.0 +- 0.0 (2) | 100.0 (1) | 75.0 |" in write_table(found, tmp_path)
    assert "| b | 50.0 (1) | not measured |  |" in write_table(found, tmp_path), "a mean over one of two splits"


def test_late_fusion_averages_probabilities_of_a_split_and_seed(tmp_path):
    """Flow is right about all and three times as certain: where the streams disagree, it decides."""
    table = grid(["a: --x=1", "rgb = a.spatial", "late = a.spatial + a.temporal", "flow = a.temporal"], [1], [0])
    finish(table.cells[0], tmp_path, [], spatial=[0, 1], temporal=[0, 1, 2, 3], certain=6.0)
    rows = collect(table, tmp_path)["rows"]
    means = {name: row["splits"][1]["mean"] for name, row in rows.items()}
    assert means == {"a": 0.0, "rgb": 0.5, "late": 1.0, "flow": 1.0}
    assert rows["late"]["seconds"] is None


def test_a_run_that_is_not_done_is_not_measured(tmp_path):
    table = grid(["a: --x=1", "b: --x=2"], [1], [0])
    finish(table.cells[0], tmp_path, [0])
    assert "| b | not measured |" in write_table(collect(table, tmp_path), tmp_path)


def test_runs_of_another_protocol_make_no_table(tmp_path):
    table = grid(["a: --x=1", "b: --x=2"], [1], [0])
    finish(table.cells[0], tmp_path, [0, 1])
    finish(table.cells[1], tmp_path, [0, 1], protocol="25 segments")
    with pytest.raises(UserError, match="differ in protocol"):
        collect(table, tmp_path)


def test_fusion_joins_clips_by_name(tmp_path):
    table = grid(["a: --x=1", "b: --x=2", "c = a.spatial + b.temporal"], [1], [0])
    for cell in table.cells:
        finish(cell, tmp_path, [0, 1], spatial=[0, 1, 2], temporal=[0, 1, 2])
    path = table.cells[1].workdir(tmp_path) / "scores.npz"
    with np.load(path) as file:
        turned = {name: file[name] if name == "classes" else file[name][::-1] for name in file.files}
    np.savez(path, **turned)
    assert collect(table, tmp_path)["rows"]["c"]["mean"] == 0.75
    for name, other in (("names", ["p", "q", "r", "t"]), ("classes", ["y", "x"])):
        np.savez(path, **{**turned, name: np.array(other)})
        with pytest.raises(UserError, match="clips or classes"):
            collect(table, tmp_path)


def test_a_finished_run_of_other_settings_is_not_taken_for_what_is_asked(tmp_path):
    made = Config().replace(epochs=2, record_dir="a", test_segments=3, workdir=str(tmp_path))
    lock_workdir(tmp_path, made, ["x", "y"])
    protocol = protocol_in_words(3, 1)
    (tmp_path / "evaluation.json").write_text(json.dumps({"protocol": protocol}))
    check_finished(made.replace(record_dir="b"))
    for changes in (
        {"epochs": 3},
        {"epochs": Config().train.epochs},
        {"test_segments": 5},
        {"average": "probabilities"},
    ):
        with pytest.raises(UserError, match=f"--{next(iter(changes))}"):
            check_finished(made.replace(**changes))
