"""The commands of the README on real files: prepare, train, evaluate, predict, compare, ablate, with one flag file."""

import json
import shutil

import pytest
import videos
from commands import run, run_forked

from ccsn_tf.evaluation.compare import read_evaluation, read_scores
from ccsn_tf.evaluation.metrics import softmax


@pytest.fixture(scope="module")
def finished(tiny_set, tmp_path_factory):
    """A run through the scripts, all with the same flag file; returns the flag file, the run and what evaluate said."""
    root = tmp_path_factory.mktemp("scripts")
    flag_file = root / "tiny.flags"
    flag_file.write_text(
        f"# tiny\n--dataset=ucf101\n--video_dir={tiny_set / 'videos'}\n--split_dir={tiny_set / 'lists'}\n"
        f"--record_dir={root / 'records'}\n--workdir={root / 'run'}\n--workers=1\n--backbone=tiny\n--image_size=32\n"
        "--num_segments=2\n--epochs=1\n--classes_per_batch=3\n--test_segments=2\n"
    )
    for script in ("prepare", "train"):
        run_forked(f"scripts/{script}.py", f"--flagfile={flag_file}")
    return flag_file, root / "run", run_forked("scripts/evaluate.py", f"--workdir={root / 'run'}", "--report").stdout


def test_evaluate_prints_figures_with_their_protocol_and_writes_a_page(finished):
    _, workdir, output = finished
    report = read_evaluation(workdir)
    assert (report["dataset"], report["split"], report["connection"]) == ("ucf101", 1, "cross_attention")
    assert report["num_clips"] == 6 and [row["clips"] for row in report["classes"]] == [2, 2, 2]
    assert "2 segments x centre crop" in output and "6 test clips" in output
    assert [line.split()[0] for line in output.splitlines()[2:5]] == ["spatial", "temporal", "fused"]
    assert f"report: {workdir / 'REPORT.html'}" in output
    assert report["protocol"] in (workdir / "REPORT.html").read_text(encoding="utf-8")


def test_predict_goes_on_after_a_bad_video_and_agrees_with_evaluate(finished, tiny_set, tmp_path):
    workdir, scores = finished[1], read_scores(finished[1])
    good, classes = tiny_set / "videos" / f"{scores['names'][0]}.avi", scores["classes"].tolist()
    broken, folder = tmp_path / "broken.avi", tmp_path / "videos"
    broken.write_bytes(b"not a video")
    folder.mkdir()
    shutil.copy(good, folder / "UPPER.MTS")  # a folder means its videos
    videos.write_video(folder / "short.avi", videos.moving(step=(1, 0), seed=0)[:3])
    result = run_forked("scripts/predict.py", f"--workdir={workdir}", "--json", broken, folder, good)
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer["video"] for answer in answers] == [f"{folder}/UPPER.MTS", str(good)]
    expected = softmax(scores["fused"][0])
    for answer in answers:  # which sees no JPEGs
        assert sum(entry["fused"] for entry in answer["top"]) == pytest.approx(1, abs=1e-5)
        for entry in answer["top"]:
            assert entry["fused"] == pytest.approx(expected[classes.index(entry["class"])], abs=0.02)
    assert f"predict: {broken} cannot be read" in result.stderr
    assert "3 frames: a snippet of --flow_length=5 flow fields needs 6" in result.stderr
    assert "2 of 4 videos could not be used" in result.stderr


def test_an_evaluated_run_rejects_windows_and_finds_clips(finished, tiny_set, tmp_path):
    workdir, name = finished[1], str(read_scores(finished[1])["names"][0])
    assert "fused: temperature " in finished[2] and "calibration error" in finished[2]
    video = tiny_set / "videos" / f"{name}.avi"
    words = [f"--model={workdir}", video, "--window=0.4", "--every=0.2", f"--output={tmp_path}/t.jsonl"]
    result = run_forked("scripts/watch.py", *words, "--reject")
    windows = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    rejected = [line for line in result.stdout.splitlines() if line.endswith(" none")]
    assert windows and len(rejected) == sum("none" in each for each in windows)
    words = [f"--model={workdir}", f"--index={tmp_path}/index.npz", video, "--count=2", "--by=temporal"]
    lines = run_forked("scripts/similar.py", *words, f"--output={tmp_path}/s.png").stdout.splitlines()
    assert len(lines) == 3 and lines[2] == f"contact sheet: {tmp_path}/s.png" and (tmp_path / "s.png").is_file()


def test_runs_are_compared_and_fused_without_a_forward_pass(finished):
    workdir, report = finished[1], read_evaluation(finished[1])
    table = run_forked("scripts/compare.py", workdir).stdout
    assert report["protocol"] in table and f"{100 * report['fused']['top1']:.1f}" in table
    fused = run_forked("scripts/compare.py", "--fuse", "--fusion_weights=1,0", workdir, workdir).stdout.splitlines()
    assert "logits weighted 1:0" in fused[0]
    assert fused[2].split()[1:] == fused[4].split()[1:]
    assert "--fuse takes two runs" in run_forked("scripts/compare.py", "--fuse", workdir, code=1).stderr


@pytest.fixture
def grid(finished, tmp_path):
    """The command of a grid whose first run was made before, without the file of its rows."""
    shutil.copytree(finished[1], tmp_path / "ccs-split1-seed0")
    return ["scripts/ablate.py", f"--flagfile={finished[0]}", f"--workdir={tmp_path}", f"--grid={tmp_path}/rows.toml"]


def test_ablate_makes_a_table_and_does_nothing_twice(grid, tmp_path):
    (tmp_path / "rows.toml").write_text('[rows]\nccs.flags = []\nflow.mean_of = ["ccs.temporal"]\n')
    assert run_forked(*grid).stdout.count("done before") == 1
    table = json.loads((tmp_path / "ablation.json").read_text())
    report = read_evaluation(tmp_path / "ccs-split1-seed0")
    assert table["num_clips"] == {"1": 6}
    assert table["rows"]["flow"]["splits"]["1"]["values"] == [report["temporal"]["top1"]]
    assert "| flow |" in (tmp_path / "ablation.md").read_text()
    assert "--epochs=2" in run_forked(*grid, "--epochs=2", code=1).stderr
    (tmp_path / "rows.toml").write_text('[rows]\nsum.flags = []\nnone.flags = ["--conection=none"]\n')
    assert "'conection'" in run_forked(*grid, code=1).stderr  # before "sum" is trained


@pytest.mark.slow
def test_ablate_trains_what_is_not_there(grid, tmp_path):
    (tmp_path / "rows.toml").write_text(
        "[rows]\nccs.flags = []\n"
        'sum.flags = ["--connection=sum", "--init_spatial={root}/ccs-split{split}-seed{seed}"]\n'
        'late.mean_of = ["ccs.spatial", "sum.temporal"]\n'
    )
    assert run(*grid).stdout.count("done before") == 1
    report = read_evaluation(tmp_path / "sum-split1-seed0")
    table = json.loads((tmp_path / "ablation.json").read_text())
    assert report["connection"] == "sum" and list(table["rows"]) == ["ccs", "sum", "late"]
    assert table["rows"]["sum"]["splits"]["1"]["values"] == [report["fused"]["top1"]]
    assert table["rows"]["late"]["splits"]["1"]["count"] == 1
    assert run_forked(*grid).stdout.count("done before") == 2
