"""What check_data.py prints; what it finds is tests/data/test_checks.py."""

import functools
import shutil

import commands

run = functools.partial(commands.run, "scripts/check_data.py", "--image_size=32", "--workers=1")


def test_sound_videos_and_records(tiny_set, tiny_data):
    videos = [f"--video_dir={tiny_set / 'videos'}", f"--split_dir={tiny_set / 'lists'}"]
    result = run(*videos, f"--record_dir={tiny_data.record_dir}")
    assert result.stdout == "Training may start; problems: 0, warnings: 0.\n"
    assert "check videos 100 % 15/15 clips" in result.stderr and "check records 100 % 15/15 clips" in result.stderr


def test_faults_are_summed_up_and_told_in_full(tiny_set, tmp_path):
    shutil.copytree(tiny_set, tmp_path / "set")
    for path in sorted((tmp_path / "set" / "videos").glob("*/*_g0[345]_c01.avi"))[:8]:
        path.write_text("not a video")
    given = [f"--video_dir={tmp_path / 'set' / 'videos'}", f"--split_dir={tmp_path / 'set' / 'lists'}"]
    lines = run(*given, code=1).stdout.splitlines()
    assert lines[0] == "Training may not start before this is put right:"
    assert lines[-1].startswith("Training may not start; problems: ")
    assert "  unreadable: 8" in lines and sum("cannot be read as a video" in line for line in lines) == 8


def test_nothing_to_check():
    assert run(code=1).stderr.startswith("check_data: neither --video_dir nor --record_dir is given")
