"""What prepare.py says about lists and stored flow."""

import commands
import pytest
from image_folders import flow_planes, write_clip
from videos import moving


def test_stored_flow_needs_its_bound_and_labels_from_one_are_told(tmp_path):
    for name in ("run 1", "run 2", "sit 1", "sit 2"):
        write_clip(tmp_path / "rawframes" / name, moving(8), flow_planes(7))
    for side, number in (("train", 1), ("test", 2)):
        (tmp_path / f"{side}.txt").write_text(f"run {number} 8 1\nsit {number} 8 2\n")
    with (tmp_path / "train.txt").open("a") as file:
        file.write("run 3 8 1\n")
    (tmp_path / "classes.txt").write_text("run\nsit\n")
    arguments = [
        "--dataset=list",
        f"--video_dir={tmp_path / 'rawframes'}",
        *(f"--{side}_list={tmp_path / side}.txt" for side in ("train", "test")),
        f"--class_file={tmp_path / 'classes.txt'}",
        f"--record_dir={tmp_path / 'records'}",
        "--flow=stored",
        "--workers=1",
    ]
    refused = commands.run("scripts/prepare.py", *arguments, code=1)
    assert not (tmp_path / "records").exists()
    assert refused.stderr.strip() == (
        "prepare: --flow=stored needs --flow_bound, the bound that the flow images were made with: mmaction2 uses 20, "
        "denseflow 32 unless told otherwise."
    )
    lines = commands.run("scripts/prepare.py", *arguments, "--flow_bound=32").stdout.splitlines()
    assert lines[0] == "The labels run from 1 to 2, so that 1 is run, the first class."
    lost = tmp_path / "rawframes" / "run 3"
    assert lines[1].startswith("Split 1: A single training clip of run, sit: ")
    assert lines[2] == f"skipped run 3: {lost} is named in train.txt, line 3, but does not exist."
    assert lines[3].startswith("4 clips of 2 classes, 32 frames, ") and lines[3].endswith("; 1 skipped.")


@pytest.mark.slow
def test_flow_of_the_network_is_prepared_without_tensorflow_s_notices(tmp_path):
    for name in ("train/run/a", "train/sit/b", "test/run/c", "test/sit/d"):
        write_clip(tmp_path / "clips" / name, moving(6, height=16, width=16))
    arguments = ["--dataset=folder", f"--video_dir={tmp_path / 'clips'}", f"--record_dir={tmp_path / 'records'}"]
    done = commands.run("scripts/prepare.py", *arguments, "--flow=tvl1_graph", "--workers=1", "--stall_seconds=250")
    assert done.stdout.splitlines()[-1].startswith("4 clips of 2 classes, 24 frames, ")
    said = done.stderr.replace("\r", "\n").split("\n")
    assert any(said) and not [line for line in said if line and not line.startswith("prepare ")]
