"""The commands of docs/SERVING.md as a user types them."""

import json
import pathlib
import re

import pytest
from commands import run
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
    videos = sorted((tiny_set / "videos").glob("*/*.avi"))[:2]
    texts = []
    for address in served:
        lines = run("scripts/query.py", f"--server={address}", "--json", *videos).stdout.splitlines()
        answers = [json.loads(line) for line in lines]
        assert [answer["video"] for answer in answers] == [str(video) for video in videos]
        texts.append([[(entry["class"], round(entry["score"], 4)) for entry in answer["top"]] for answer in answers])
    assert texts[0] == texts[1] and len(texts[0][0]) == 2
    lines = run("scripts/query.py", f"--export_dir={written[0]}", "--json", *videos).stdout.splitlines()
    top = [[(entry["class"], round(entry["score"], 4)) for entry in json.loads(line)["top"]] for line in lines]
    assert top == texts[0]
    result = run("scripts/query.py", f"--server={served[0]}", tmp_path / "absent.avi", videos[0], code=1)
    assert result.stdout.count("%") == 2
    assert f"query: {tmp_path}/absent.avi does not exist." in result.stderr
    assert "1 of 2 videos got no answer" in result.stderr


def test_mistakes_end_in_a_sentence(workdir_config, written, unused_port, tmp_path):
    workdir = f"--workdir={workdir_config.train.workdir}"
    (tmp_path / "model.keras").touch()
    for script, arguments, words in (
        ("export/saved_model.py", [workdir], "--export_dir is not given"),
        (
            "export/saved_model.py",
            [workdir, f"--export_dir={written[0]}", "--version=1"],
            "exists: leave --version out",
        ),
        ("export/saved_model.py", [f"--workdir={tmp_path}", "--export_dir=x"], "config.json is missing"),
        ("export/saved_model.py", ["--export_dir=x"], "--workdir is not given"),
        ("scripts/query.py", [f"--server=localhost:{unused_port}", "--timeout=2", "x.avi"], "cannot be reached"),
        ("scripts/query.py", [f"--export_dir={tmp_path}", "x.avi"], "holds no version of a model"),
    ):
        result = run(script, *arguments, code=1, cwd=tmp_path)
        name = pathlib.Path(script).stem
        assert result.stderr.startswith(f"{name}: ") and words in result.stderr, result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
