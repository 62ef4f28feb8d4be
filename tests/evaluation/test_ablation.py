import json
import pathlib

import pytest

from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.ablation import collect, grid, write_table


def finish(cell, root, top1, **changes):
    workdir = cell.workdir(root)
    workdir.mkdir()
    figures = {stream: {"top1": top1} for stream in ("spatial", "temporal", "fused")}
    report = {"dataset": "demo", "split": 1, "protocol": "3 segments", "num_clips": 4, **figures, **changes}
    (workdir / "evaluation.json").write_text(json.dumps(report))
    (workdir / "history.csv").write_text("epoch,seconds\n1,2.5\n2,3.5\n")


def test_rows_of_the_first_seed_come_first():
    cells = grid(["a: --connection=none", "b: --connection=sum --position=mlp"], [0, 1])
    assert [(cell.name, cell.seed) for cell in cells] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert cells[1].flags == ("--connection=sum", "--position=mlp")
    assert cells[3].workdir(pathlib.Path("r")) == pathlib.Path("r/b-seed1")


@pytest.mark.parametrize("variant", ["no flags", "a: connection=none", ": --x", "a/b: --x=1"])
def test_malformed_rows_are_refused(variant):
    with pytest.raises(UserError, match="--grid"):
        grid([variant], [0])


def test_names_must_differ():
    with pytest.raises(UserError, match="names a twice"):
        grid(["a: --x=1", "a: --x=2"], [0])


def test_mean_and_sample_deviation_over_seeds(tmp_path):
    cells = grid(["a: --connection=none", "b: --connection=sum"], [0, 1, 2])
    for cell, top1 in zip([c for c in cells if c.name == "a"], [0.5, 0.25, 0.75], strict=True):
        finish(cell, tmp_path, top1)
    finish(cells[1], tmp_path, 1.0)
    table = collect(cells, tmp_path)
    row = table["rows"]["a"]
    assert row["fused"] == {"mean": 0.5, "deviation": 0.25, "count": 3, "values": [0.5, 0.25, 0.75]}
    assert row["seconds"] == 6.0
    assert table["rows"]["b"]["fused"]["deviation"] is None
    text = write_table(table, tmp_path)
    assert "| a | 50.0 +- 25.0 (3) |" in text and "| b | 100.0 (1) |" in text
    assert json.loads((tmp_path / "ablation.json").read_text()) == table


def test_a_run_that_is_not_done_is_not_measured(tmp_path):
    assert "not measured" in write_table(collect(grid(["a: --x=1"], [0]), tmp_path), tmp_path)


def test_runs_of_another_protocol_make_no_table(tmp_path):
    cells = grid(["a: --x=1", "b: --x=2"], [0])
    finish(cells[0], tmp_path, 0.5)
    finish(cells[1], tmp_path, 0.5, protocol="25 segments")
    with pytest.raises(UserError, match="differ in protocol"):
        collect(cells, tmp_path)
