"""What check_data.py prints and writes; what it finds is tests/data/checks."""

import functools
import json
import shutil

import commands
import pytest

run = functools.partial(commands.run, "scripts/check_data.py", "--image_size=32", "--workers=1")


@pytest.fixture
def spoilt(tiny_set, tmp_path):
    """Flags for a copy of the tiny set with eight videos that are none."""
    shutil.copytree(tiny_set, tmp_path / "set")
    for path in sorted((tmp_path / "set" / "videos").glob("*/*_g0[345]_c01.avi"))[:8]:
        path.write_text("not a video")
    return [f"--video_dir={tmp_path / 'set' / 'videos'}", f"--split_dir={tmp_path / 'set' / 'lists'}"]


def test_sound_videos_and_records(tiny_set, tiny_data):
    videos = [f"--video_dir={tiny_set / 'videos'}", f"--split_dir={tiny_set / 'lists'}"]
    result = run(*videos, f"--record_dir={tiny_data.record_dir}")
    assert result.stdout == "Training may start; problems: 0, warnings: 0.\n"
    assert "check videos 100 % 15/15 clips" in result.stderr and "check records 100 % 15/15 clips" in result.stderr


def test_faults_are_summed_up_and_written_in_full(spoilt, tmp_path):
    result = run(*spoilt, f"--output={tmp_path / 'report.json'}", code=1)
    lines = result.stdout.splitlines()
    assert lines[0] == "Training may not start before this is put right:"
    assert lines[-1].startswith("Training may not start; problems: ")
    assert "  unreadable: 8" in lines and "    ... and 3 more" in lines
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["may_train"] is False and report["counts"]["unreadable"] == 8 and len(report["findings"]) > 8


def test_json_and_text_the_other_way_round(tmp_path):
    result = run(f"--record_dir={tmp_path}", "--json", f"--output={tmp_path / 'report.txt'}", code=1)
    assert json.loads(result.stdout)["counts"] == {"records": 1}
    assert "Training may not start; problems: 1, warnings: 0." in (tmp_path / "report.txt").read_text()


def test_nothing_to_check():
    assert run(code=1).stderr.startswith("check_data: neither --video_dir nor --record_dir is given")
