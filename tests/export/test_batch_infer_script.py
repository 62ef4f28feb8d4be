"""export/batch_infer.py as a user runs it, and kills it."""

import json
import os
import random
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from commands import command, run, run_forked
from processes import needs_proc, processes_of, wait_until
from videos import moving, truncate, write_video

from ccsn_tf.serving.batch.backends import choose
from ccsn_tf.serving.batch.run import BatchSettings, predict_all, videos_of_folder

SCRIPT = "export/batch_infer.py"


@pytest.fixture(scope="module")
def model(onnx_export):
    return str(onnx_export("fp32").path)


def write_videos(folder, good, bad, originals, **size):
    """Writes a folder of videos of which `bad` cannot be used; returns {name of a good one: number of its original}."""
    first = [
        write_video(folder / "original" / f"{number}.avi", moving(seed=number, **size)) for number in range(originals)
    ]
    names = {}
    for number in range(good):
        path = folder / "videos" / f"class {number % 3}" / f"good {number:03d}.avi"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(first[number % originals], path)
        names[path.relative_to(folder / "videos").as_posix()] = number % originals
    for number in range(bad):
        path = folder / "videos" / f"class {number % 3}" / f"bad {number:03d}.avi"
        shutil.copy(first[number % originals], path)
        kind = number % 4
        if kind == 0:
            truncate(path, 0.3)
        elif kind == 1:
            path.write_bytes(b"")
        elif kind == 2:
            path.write_text("no video")
        else:
            write_video(path, moving(2, seed=number))
    return names


def lines_of(output):
    """The whole lines of the predictions."""
    path = output / "predictions.jsonl"
    return path.read_bytes().splitlines(keepends=True) if path.exists() else []


@needs_proc
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "good, bad, kills, size",
    [
        (9, 3, 1, {"num_frames": 30, "height": 240, "width": 320}),
        pytest.param(980, 20, 3, {}, marks=pytest.mark.slow),
    ],
)
def test_killed_and_started_again(model, tmp_path, good, bad, kills, size, seed=0):
    names, rng = write_videos(tmp_path, good, bad, min(good, 49), **size), random.Random(seed)
    total, output, kept = good + bad, tmp_path / "predictions", []
    flags = [f"--model={model}", f"--video_dir={tmp_path}/videos", f"--output_dir={output}", "--all_scores"]
    begun = time.monotonic()
    for number in range(kills):
        arguments = command(SCRIPT, *flags, f"--batch_size={max(1, total // 125)}", "--workers=2")
        with subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        ) as process:
            enough = max(1, round(total * (number + rng.random()) / (kills + 1)))
            wait_until(lambda enough=enough: len(lines_of(output)) >= enough, 600)
            os.kill(process.pid, signal.SIGKILL) if number % 2 else os.killpg(process.pid, signal.SIGKILL)
        wait_until(lambda session=process.pid: not processes_of(session), 20)
        kept.append(len(lines_of(output)))
        assert kept[-1] < total, "it had ended before it was killed"
        with (output / "predictions.jsonl").open("ab") as file:  # a kill between two blocks of a disk does this
            file.write(b'{"video": "class 0/good 0')
    done = run_forked(SCRIPT, *flags)
    seconds = time.monotonic() - begun
    assert f"{good} of {total} clips predicted in {output}; {bad} could not be" in done.stdout
    rows = [json.loads(line) for line in lines_of(output)]
    assert len(rows) == total
    assert sorted(row["video"] for row in rows if "top" in row) == sorted(names)
    assert sum("error" in row and "bad " in row["error"] for row in rows) == bad
    print(f"{total} videos, {kills} kills with {kept} rows written, {seconds:.0f} s in all: {good} rows, {bad} errors")

    once, scores = tmp_path / "once", {row["video"]: row.get("scores") for row in rows}
    predict_all(videos_of_folder(f"{tmp_path}/original"), choose([model]), str(once), BatchSettings(all_scores=True))
    expected = {row["video"]: row["scores"] for row in map(json.loads, lines_of(once))}
    for name, original in names.items():
        np.testing.assert_allclose(scores[name], expected[f"{original}.avi"], atol=1e-5)


def test_what_it_prints(model, exported, tiny_set, tmp_path):
    (tmp_path / "list.txt").write_text("".join(f"{path}\n" for path in sorted(tiny_set.glob("videos/*/*.avi"))[:3]))
    flags = [f"--model={exported.folder},{model}", f"--video_list={tmp_path}/list.txt", f"--output_dir={tmp_path}/p"]
    done = run(SCRIPT, *flags, "--top_k=1")
    assert done.stdout.startswith(f"3 clips, {model} by onnx\n3 clips in ")
    assert f"3 of 3 clips predicted in {tmp_path}/p; 0 could not be" in done.stdout
    assert "infer 100 % 3/3 clips, " in done.stderr
    assert all(len(json.loads(line)["top"]) == 1 for line in lines_of(tmp_path / "p"))


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--model={model}"], "--output_dir is not given"),
        (["--model={model}", "--output_dir=p", "--runner=FlinkRunner"], "--runner=FlinkRunner is for prepare.py"),
        (["--model={model}", "--output_dir=p"], "pass --video_dir, --video_list or --record_dir"),
    ],
)
def test_mistakes_end_in_a_sentence(model, tmp_path, flags, words):
    result = run_forked(SCRIPT, *[flag.format(model=model) for flag in flags], code=1, cwd=tmp_path)
    assert result.stderr.startswith("batch_infer: ") and words in result.stderr, result.stderr
    assert result.stderr.count("\n") == 1
