"""The commands of docs/SERVING.md as a user types them."""

import json
import pathlib
import re

import pytest
from commands import run, run_forked
from serving_stand_in import StandIn


@pytest.fixture(scope="module")
def written(workdir_config, tmp_path_factory):
    """(the export's folder, what the command printed)."""
    folder = tmp_path_factory.mktemp("export") / "model"
    done = run("export/saved_model.py", f"--workdir={workdir_config.train.workdir}", f"--export_dir={folder}")
    return folder, done.stdout


@pytest.fixture
def served(written):
    """The stand-in for a server; yields (gRPC address, REST address)."""
    with StandIn(str(written[0])) as server:
        yield f"localhost:{server.grpc_port}", f"http://localhost:{server.rest_port}"


def test_the_command_says_what_it_proved(written):
    folder, output = written
    assert (folder / "1" / "saved_model.pb").is_file()
    assert "10 batch normalisations folded into convolutions, 2 left." in output
    for signature in ("serving_default", "jpeg", "embed"):
        found = re.search(rf"{signature} +largest difference (\S+) \(limit 1e-05\)", output)
        assert float(found[1]) <= 1e-5
    assert re.search(rf"{folder}/1: \d+ MB, verified.", output)


def test_servers_and_the_folder_are_asked_about_videos(served, written, tiny_set, tmp_path):
    videos = sorted((tiny_set / "videos").glob("*/*.avi"))[:1]
    tops = []
    for flag in (f"--server={served[1]}", f"--export_dir={written[0]}"):
        (answer,) = map(json.loads, run_forked("scripts/query.py", flag, "--json", videos[0]).stdout.splitlines())
        assert answer["video"] == str(videos[0]) and len(answer["top"]) == 2
        tops.append([(entry["class"], round(entry["score"], 4)) for entry in answer["top"]])
    assert tops[0] == tops[1]
    result = run("scripts/query.py", f"--server={served[0]}", tmp_path / "absent.avi", videos[0])
    lines = result.stdout.splitlines()
    assert lines[0] == str(videos[0]) and [line.split()[-1] for line in lines[1:]] == [label for label, _ in tops[0]]
    assert f"query: {tmp_path}/absent.avi does not exist." in result.stderr
    assert "1 of 2 videos got no answer" in result.stderr


def test_mistakes_end_in_a_sentence(workdir_config, written, unused_port, tmp_path):
    workdir = f"--workdir={workdir_config.train.workdir}"
    for script, arguments, words in (
        ("export/saved_model.py", [workdir, f"--export_dir={written[0]}", "--version=1"], "leave --version out"),
        ("scripts/query.py", [f"--server=localhost:{unused_port}", "--timeout=2", "x.avi"], "cannot be reached"),
    ):
        result = run_forked(script, *arguments, code=1, cwd=tmp_path)
        name = pathlib.Path(script).stem
        assert result.stderr.startswith(f"{name}: ") and words in result.stderr, result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
