"""The commands of docs/SERVING.md as a user types them."""

import json
import pathlib
import re

from commands import run_forked


def test_the_command_says_what_it_proved(exported):
    assert (exported.path / "saved_model.pb").is_file()
    assert "in a fresh process, on test clips of its records" in exported.printed
    for signature in ("serving_default", "jpeg", "embed", "snippet", "answer"):
        found = re.search(rf"{signature} +largest difference (\S+) \(limit 1e-05\)", exported.printed)
        assert float(found[1]) <= 1e-5
    assert re.search(rf"{exported.path}: \d+ MB, verified.", exported.printed)


def test_servers_and_the_folder_are_asked_about_videos(stand_in, exported, tiny_set, tmp_path):
    (video, *_), rest = sorted((tiny_set / "videos").glob("*/*.avi")), f"http://localhost:{stand_in.rest_port}"
    tops = []
    for flag in (f"--server={rest}", f"--export_dir={exported.folder}"):
        (answer,) = map(json.loads, run_forked("scripts/query.py", flag, "--json", video).stdout.splitlines())
        assert answer["video"] == str(video) and len(answer["top"]) == 2
        tops.append([(entry["class"], round(entry["score"], 4)) for entry in answer["top"]])
    assert tops[0] == tops[1]
    result = run_forked("scripts/query.py", f"--server=localhost:{stand_in.grpc_port}", tmp_path / "absent.avi", video)
    lines = result.stdout.splitlines()
    assert lines[0] == str(video) and [line.split()[-1] for line in lines[1:]] == [label for label, _ in tops[0]]
    assert f"query: {tmp_path}/absent.avi does not exist." in result.stderr
    assert "1 of 2 videos got no answer" in result.stderr


def test_mistakes_end_in_a_sentence(workdir_config, exported, unused_port, tmp_path):
    workdir = f"--workdir={workdir_config.train.workdir}"
    for script, arguments, words in (
        ("export/saved_model.py", [workdir, f"--export_dir={exported.folder}", "--version=1"], "leave --version out"),
        ("scripts/query.py", [f"--server=localhost:{unused_port}", "--timeout=2", "x.avi"], "cannot be reached"),
    ):
        result = run_forked(script, *arguments, code=1, cwd=tmp_path)
        assert result.stderr.startswith(f"{pathlib.Path(script).stem}: ") and words in result.stderr, result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
