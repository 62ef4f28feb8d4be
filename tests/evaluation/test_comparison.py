import json

import pytest

from ccsn_tf.config import Config
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.compare import compare_runs


def write_run(folder, top1, protocol="p", **settings):
    config = Config().replace(**settings)
    folder.mkdir()
    (folder / "config.json").write_text(config.to_json())
    figures = {"top1": top1, "top5": 1.0, "mean_class": top1 / 2}
    report = {"dataset": "ucf101", "split": config.data.split, "protocol": protocol, "num_clips": 40}
    report |= dict.fromkeys(("spatial", "temporal", "fused"), figures)
    (folder / "evaluation.json").write_text(json.dumps(report))
    return str(folder)


def rows(table):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[4:]]


def test_one_row_a_run_with_the_protocol_above(tmp_path):
    table = compare_runs([write_run(tmp_path / "a", 0.75)])
    assert table.splitlines()[0] == "ucf101; p. In %."
    assert rows(table) == [[str(tmp_path / "a"), "1", "40", "75.0", "75.0", "75.0", "100.0", "37.5"]]


def test_mean_over_splits_weighs_splits_alike_whatever_the_seeds(tmp_path):
    runs = [
        write_run(tmp_path / "a", 0.5, split=1, seed=0),
        write_run(tmp_path / "b", 0.7, split=1, seed=1),
        write_run(tmp_path / "c", 0.9, split=2, seed=0),
        write_run(tmp_path / "d", 0.1, split=1, connection="sum"),
    ]
    *_, last = rows(compare_runs(runs))
    assert last[:4] == ["mean over splits", "1, 2", "", "75.0"]
    assert len(rows(compare_runs(runs))) == 5


def test_protocols_are_not_mixed(tmp_path):
    runs = [write_run(tmp_path / "a", 0.5), write_run(tmp_path / "b", 0.5, protocol="q")]
    with pytest.raises(UserError, match=r"measured differently \(p; q\): evaluate them alike"):
        compare_runs(runs)


def test_a_run_without_evaluation(tmp_path):
    with pytest.raises(UserError, match=r"evaluation\.json cannot be read .*: run evaluate\.py --workdir=.*x first"):
        compare_runs([str(tmp_path / "x")])
