"""The commands of the README on real files: prepare, train, evaluate, predict, ablate, with one flag file."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import videos

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"


def run(script, *arguments, code=0):
    command = [sys.executable, str(SCRIPTS / f"{script}.py"), *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)
    assert result.returncode == code, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result


@pytest.fixture(scope="module")
def finished(tiny_set, tmp_path_factory):
    """A run through the scripts, all with the same flag file; returns the flag file and the folders."""
    root = tmp_path_factory.mktemp("scripts")
    flag_file = root / "tiny.flags"
    flag_file.write_text(
        f"# tiny\n--dataset=ucf101\n--video_dir={tiny_set / 'videos'}\n--split_dir={tiny_set / 'lists'}\n"
        f"--record_dir={root / 'records'}\n--workdir={root / 'run'}\n--workers=1\n--backbone=tiny\n--image_size=32\n"
        "--num_segments=2\n--epochs=1\n--classes_per_batch=3\n--test_segments=2\n"
    )
    for script in ("prepare", "train", "evaluate"):
        run(script, f"--flagfile={flag_file}")
    return flag_file, root


def test_the_chain_leaves_an_evaluation(finished):
    report = json.loads((finished[1] / "run" / "evaluation.json").read_text())
    assert (report["dataset"], report["split"], report["connection"]) == ("ucf101", 1, "cross_attention")
    assert report["num_clips"] == 6 and "2 segments" in report["protocol"]


def test_evaluate_prints_figures_with_their_protocol_and_writes_a_page(finished, tmp_path):
    workdir = finished[1] / "run"
    output = run("evaluate", f"--workdir={workdir}", "--test_crops=5", "--report").stdout
    assert f"report: {workdir / 'REPORT.html'}" in output
    assert "2 segments x 5 crops" in (workdir / "REPORT.html").read_text(encoding="utf-8")
    assert "2 segments x 5 crops" in output and "6 test clips" in output
    assert [line.split()[0] for line in output.splitlines()[2:5]] == ["spatial", "temporal", "fused"]
    output = run("evaluate", f"--workdir={workdir}", f"--report={tmp_path / 'page.html'}").stdout
    assert f"report: {tmp_path / 'page.html'}" in output and (tmp_path / "page.html").is_file()


def test_runs_are_compared_and_fused_without_a_forward_pass(finished):
    workdir = finished[1] / "run"
    run("evaluate", f"--workdir={workdir}")
    report = json.loads((workdir / "evaluation.json").read_text())
    assert [row["clips"] for row in report["classes"]] == [2, 2, 2]
    table = run("compare", workdir).stdout
    assert report["protocol"] in table and f"{100 * report['fused']['top1']:.1f}" in table
    fused = run("compare", "--fuse", "--fusion_weights=1,0", workdir, workdir).stdout.splitlines()
    assert "logits weighted 1:0" in fused[0]
    assert fused[2].split()[1:] == fused[4].split()[1:]
    assert "--fuse takes two runs" in run("compare", "--fuse", workdir, code=1).stderr


def test_predict_agrees_with_evaluate_but_for_the_jpegs(finished, tiny_set):
    root = finished[1]
    run("evaluate", f"--workdir={root / 'run'}")
    with np.load(root / "run" / "scores.npz") as scores:
        name, logits, classes = str(scores["names"][0]), scores["fused"][0], scores["classes"].tolist()
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    video = tiny_set / "videos" / f"{name}.avi"
    output = run("predict", f"--workdir={root / 'run'}", "--json", video).stdout
    (line,) = output.splitlines()
    answer = json.loads(line)
    assert answer["video"] == str(video) and len(answer["top"]) == len(classes)
    assert sum(entry["fused"] for entry in answer["top"]) == pytest.approx(1, abs=1e-5)
    for entry in answer["top"]:
        assert entry["fused"] == pytest.approx(expected[classes.index(entry["class"])], abs=0.02)


def test_predict_goes_on_after_a_bad_video(finished, tiny_set, tmp_path):
    broken, short = tmp_path / "broken.avi", tmp_path / "short.avi"
    broken.write_bytes(b"not a video")
    videos.write_video(short, videos.moving(step=(1, 0), seed=0)[:3])
    good = next((tiny_set / "videos").glob("*/*.avi"))
    result = run("predict", f"--workdir={finished[1] / 'run'}", "--top_k=2", broken, short, good, code=1)
    assert str(good) in result.stdout and result.stdout.count("%") == 2
    assert f"predict: {broken} cannot be read" in result.stderr
    assert "3 frames: a snippet of --flow_length=5 flow fields needs 6" in result.stderr
    assert "2 of 3 videos could not be used" in result.stderr


def test_other_records_are_refused(finished):
    result = run("train", f"--flagfile={finished[0]}", "--flow=farneback", "--workdir=/nowhere", code=1)
    assert result.stderr.startswith("train: --flow=farneback, but the records in ")
    assert len(result.stderr.strip().splitlines()) == 1


def test_ablate_makes_a_table_and_does_nothing_twice(finished, tmp_path):
    start = "--init_spatial={root}/none-split{split}-seed{seed}"
    grid = ["--grid=none: --connection=none", f"--grid=sum: --connection=sum {start}", "--seeds=0"]
    grid.append("--grid=late = none.spatial + none.temporal")
    arguments = [f"--flagfile={finished[0]}", f"--workdir={tmp_path}", *grid]
    run("ablate", *arguments)
    table = json.loads((tmp_path / "ablation.json").read_text())
    assert list(table["rows"]) == ["none", "sum", "late"] and table["num_clips"] == {"1": 6}
    report = json.loads((tmp_path / "sum-split1-seed0" / "evaluation.json").read_text())
    assert table["rows"]["sum"]["splits"]["1"]["values"] == [report["fused"]["top1"]]
    assert table["rows"]["late"]["splits"]["1"]["count"] == 1
    assert "| late |" in (tmp_path / "ablation.md").read_text()
    assert run("ablate", *arguments).stdout.count("done before") == 2
    assert "--epochs=2" in run("ablate", *arguments, "--epochs=2", code=1).stderr
