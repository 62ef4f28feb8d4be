import itertools
import json
import pathlib

import numpy as np
import pytest

from ccsn_tf.config import Config, DataConfig, EvalConfig
from ccsn_tf.config.settings import CONNECTIONS
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.ablate import Cell, check_finished, collect, paired_difference, read_grid, write_table
from ccsn_tf.evaluation.compare import protocol_in_words
from ccsn_tf.evaluation.rejection import WAYS
from ccsn_tf.training.workdir import lock_workdir

LABELS = np.array([0, 1, 0, 1])
TWO_ROWS = 'a.flags = ["--x=1"]\nb.flags = ["--x=2"]'


@pytest.fixture
def make(tmp_path):
    """Reads a grid of these [rows], below lines that may come before."""

    def made(rows, before=""):
        path = tmp_path / "rows.toml"
        path.write_text(f"{before}\n[rows]\n{rows}\n")
        return read_grid(path, Config())

    return made


def scores(right, certain=2.0):
    """Logits (4, 2) of two classes that are right about the clips in `right`."""
    towards = np.where(np.isin(np.arange(4), right), LABELS, 1 - LABELS)
    return certain * np.eye(2)[towards]


def finish(cell, root, right, spatial=(), temporal=(), certain=2.0, arrays=(), **changes):
    workdir = cell.workdir(root)
    workdir.mkdir(exist_ok=True)
    logits = {"spatial": scores(spatial), "temporal": scores(temporal, certain), "fused": scores(right)}
    ids = {"labels": LABELS, "names": np.array(["p", "q", "r", "s"]), "groups": np.array(["1", "1", "2", "3"])}
    ids["classes"] = np.array(["x", "y"])
    np.savez(workdir / "scores.npz", **{**ids, **logits, **dict(arrays)})
    report = {"dataset": "demo", "protocol": "3 segments", "num_clips": 4}
    report |= {"spatial": {"top1": len(spatial) / 4}, "temporal": {"top1": len(temporal) / 4}}
    ways = {way: {"recall_at_1": recall} for way, recall in (("flow_to_rgb", 0.5), ("rgb_to_flow", 1.0))}
    report["embeddings"] = {"retrieval": ways, "variation": {"cross": 0.9}}
    (workdir / "evaluation.json").write_text(json.dumps({**report, **changes}))
    (workdir / "history.csv").write_text("epoch,seconds\n1,2.5\n2,3.5\n")


def test_rows_have_the_runs_of_the_file_or_their_own(make):
    rows = 'a.flags = ["--x=1"]\nb.flags = ["--y=a b"]\nb.runs = [[1, 0], [3, 0], [1, 2]]'
    grid = make(f'{rows}\nc.mean_of = ["a.spatial", "b.temporal"]', "splits = [1, 2]\nseeds = [0]")
    # Rows of the first seed come first.
    places = [(cell.name, cell.split, cell.seed) for cell in grid.cells]
    assert places == [("a", 1, 0), ("b", 1, 0), ("a", 2, 0), ("b", 3, 0), ("b", 1, 2)]
    assert grid.cells[1].flags == ("--y=a b",)
    assert grid.cells[3].workdir(pathlib.Path("r")) == pathlib.Path("r/b-split3-seed0")
    assert grid.rows == {"a": (("a", "fused"),), "b": (("b", "fused"),), "c": (("a", "spatial"), ("b", "temporal"))}


def test_flags_can_name_the_runs_of_other_rows():
    cell = Cell("joint", ("--init_spatial={root}/rgb-split{split}-seed{seed}", "--x={other}"), 3, 7)
    assert cell.flags_below(pathlib.Path("a/b")) == ["--init_spatial=a/b/rgb-split3-seed7", "--x={other}"]


def test_the_recipe_has_every_kind_of_connection():
    path = pathlib.Path(__file__).parents[2] / "scripts" / "recipes" / "connections.toml"
    grid = read_grid(path, Config().replace(split=2))
    found = [(cell.flags, cell.split, cell.seed) for cell in grid.cells]
    kinds = CONNECTIONS[:7]  # another test may have registered one of its own
    assert found == [((f"--connection={kind}",), 2, seed) for seed, kind in itertools.product(range(3), kinds)]


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ('a.flags = "--x=1"', "a must"),
        ('a.flags = ["--seed=1"]', "a must have flags .* but for .*--seed"),
        ('"a/b".flags = []', "a/b must"),
        ('a.flags = []\na.runs = [["1", 0]]', r"a\.runs"),
        ('a.flags = []\nlate.mean_of = ["a.spatial", "b.temporal"]', r"late is made of b\.temporal"),
        ("a.flags = []\n[row]", "not row"),
    ],
)
def test_a_malformed_grid_is_refused(make, rows, named):
    with pytest.raises(UserError, match=rf"--grid=.*rows\.toml.*{named}"):
        make(rows)


def test_what_is_no_grid_is_refused(make, tmp_path):
    with pytest.raises(UserError, match=r"--grid=.*none\.toml"):
        read_grid(tmp_path / "none.toml", Config())
    for before, named in (("folds = 1", "folds"), ('against = "c"', "against")):
        with pytest.raises(UserError, match=rf"--grid=.*{named}"):
            make(TWO_ROWS, before)


def test_mean_and_sample_deviation_over_seeds(make, tmp_path):
    grid = make(TWO_ROWS, "seeds = [0, 1, 2]")
    for cell, right in zip([c for c in grid.cells if c.name == "a"], ([0, 1], [0], [0, 1, 2]), strict=True):
        finish(cell, tmp_path, right)
    finish(grid.cells[1], tmp_path, [0, 1, 2, 3])
    assert "AUROC" not in write_table(collect(grid, tmp_path), tmp_path)
    told = {way: {"threshold": 0.1, "auroc": auroc} for way, auroc in zip(WAYS, (0.91, 0.5, 0.6, 0.7), strict=True)}
    finish(grid.cells[1], tmp_path, [0, 1, 2, 3], num_unknown=7, rejection=told)
    found = collect(grid, tmp_path)
    row = found["rows"]["a"]
    assert row["splits"] == {1: {"mean": 0.5, "deviation": 0.25, "count": 3, "values": [0.5, 0.25, 0.75]}}
    assert row["seconds"] == 6.0 and row["recall_at_1"] == 0.75 and row["variation"] == 0.9
    assert found["rows"]["b"]["splits"][1]["deviation"] is None
    text = write_table(found, tmp_path)
    assert "| a | 50.0 +- 25.0 (3) | 0.0 | 0.0 | 75.0 | 0.90 | 6 |  |  |  |  |" in text and "| b | 100.0 (1) |" in text
    assert "| AUROC, embedding | " in text and "| 91.0 | 50.0 | 60.0 | 70.0 |" in text
    written = json.loads((tmp_path / "ablation.json").read_text())
    assert written["rows"]["a"]["splits"]["1"] == row["splits"][1]


def test_every_split_counts_alike_in_the_mean(make, tmp_path):
    grid = make(f"{TWO_ROWS}\na.runs = [[1, 0], [1, 1], [2, 0]]")
    for cell in grid.cells:
        finish(cell, tmp_path, [0, 1, 2, 3] if cell.split == 2 else [0, 1])
    found = collect(grid, tmp_path)
    assert found["rows"]["a"]["mean"] == 0.75
    assert "| a | 50.0 +- 0.0 (2) | 100.0 (1) | 75.0 |" in write_table(found, tmp_path)
    assert "| b | 50.0 (1) | not measured |  |" in write_table(found, tmp_path), "a mean over one of two splits"


def test_late_fusion_averages_probabilities_of_a_split_and_seed(make, tmp_path):
    """Flow is right about all and three times as certain: where the streams disagree, it decides."""
    grid = make(
        'a.flags = []\nrgb.mean_of = ["a.spatial"]\nlate.mean_of = ["a.spatial", "a.temporal"]\n'
        'flow.mean_of = ["a.temporal"]\nb.flags = []'
    )
    finish(grid.cells[0], tmp_path, [], spatial=[0, 1], temporal=[0, 1, 2, 3], certain=6.0)
    found = collect(grid, tmp_path)
    means = {name: row["mean"] for name, row in found["rows"].items()}
    assert means == {"a": 0.0, "rgb": 0.5, "late": 1.0, "flow": 1.0, "b": None}
    assert found["rows"]["late"]["seconds"] is None
    assert "| b | not measured |" in write_table(found, tmp_path)


def test_fusion_joins_clips_by_name_of_one_protocol(make, tmp_path):
    grid = make(f'{TWO_ROWS}\nc.mean_of = ["a.spatial", "b.temporal"]')
    right = {"spatial": [0, 1, 2], "temporal": [0, 1, 2]}
    finish(grid.cells[0], tmp_path, [0, 1], **right)
    turned = {"names": ["s", "r", "q", "p"], "labels": LABELS[::-1], "temporal": scores([0, 1, 2])[::-1]}
    finish(grid.cells[1], tmp_path, [0, 1], **right, arrays=turned)
    assert collect(grid, tmp_path)["rows"]["c"]["mean"] == 0.75
    for name, other in (("names", ["p", "q", "r", "t"]), ("classes", ["y", "x"]), ("labels", LABELS)):
        finish(grid.cells[1], tmp_path, [0, 1], **right, arrays={**turned, name: other})
        with pytest.raises(UserError, match=f"a and b differ in their {name}"):
            collect(grid, tmp_path)
    finish(grid.cells[1], tmp_path, [0, 1], protocol="25 segments")
    with pytest.raises(UserError, match="differ in protocol"):
        collect(grid, tmp_path)


def test_a_finished_run_of_other_settings_is_not_taken_for_what_is_asked(tmp_path):
    made = Config().replace(epochs=2, record_dir="a", test_segments=3, workdir=str(tmp_path))
    with lock_workdir(tmp_path, made, ["x", "y"]):
        pass
    (tmp_path / "evaluation.json").write_text(
        json.dumps({"protocol": protocol_in_words(EvalConfig(test_segments=3), DataConfig())})
    )
    check_finished(made.replace(record_dir="b"))
    for changes in (
        {"epochs": 3},
        {"epochs": Config().train.epochs},
        {"test_segments": 5},
        {"average": "probabilities"},
    ):
        with pytest.raises(UserError, match=f"--{next(iter(changes))}"):
            check_finished(made.replace(**changes))


def test_folds_are_runs_of_their_own_and_one_figure(make, tmp_path):
    grid = make(TWO_ROWS, 'folds = 2\nagainst = "a"')
    names = [cell.workdir(tmp_path).name for cell in grid.cells]
    assert names == ["a-split1-fold1-seed0", "b-split1-fold1-seed0", "a-split1-fold2-seed0", "b-split1-fold2-seed0"]
    for cell, right in zip(grid.cells, ([0], [0, 1], [0], [0, 1, 2, 3]), strict=True):
        finish(cell, tmp_path, right)
    found = collect(grid, tmp_path)
    assert found["num_clips"] == {1: 8}
    assert [found["rows"][name]["mean"] for name in "ab"] == [0.25, 0.75]
    difference, error = found["rows"]["b"]["against"]
    assert difference == 0.5 and found["rows"]["a"]["against"] is None
    assert f"+50.0 ({100 * error:.1f})" in write_table(found, tmp_path)
    grid.cells[2].workdir(tmp_path).joinpath("evaluation.json").unlink()
    assert collect(grid, tmp_path)["rows"]["a"]["mean"] is None, "a figure of one fold"


def test_paired_differences_have_the_error_of_whole_groups():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 7, 40).astype(str)
    row, other = ({(1, seed): (groups, rng.random(40) < chance) for seed in (0, 1)} for chance in (0.8, 0.5))
    difference, error = paired_difference(row, other)
    every = [(g, float(a) - float(b)) for p in row for g, a, b in zip(groups, row[p][1], other[p][1], strict=True)]
    mean = sum(value for _, value in every) / 80
    squares = [sum(value - mean for g, value in every if g == group) ** 2 for group in set(groups)]
    assert difference == pytest.approx(mean)
    assert error == pytest.approx((7 / 6 * sum(squares)) ** 0.5 / 80)
    assert paired_difference(row, {}) is None
    assert paired_difference({(1, 0): (["g"], np.array([True]))}, {(1, 0): (["g"], np.array([False]))}) is None
