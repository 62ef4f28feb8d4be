"""The demo, small: each step once, and only once."""

import itertools
import os
import pathlib
import re
import subprocess
import sys

import pytest
from commands import run

from ccsn_tf.data.demo.render import CLASSES

DEMO = pathlib.Path(__file__).parents[2] / "scripts" / "demo.py"
SMALL = ("--demo_train_clips=32", "--demo_test_clips=8", "--epochs=1", "--workers=1")


def shares(output, script):
    """{class: percent} as a script has printed it."""
    lines = output.split(f"$ python scripts/{script}.py")[1].splitlines()[2:]
    found = (re.fullmatch(r" +([\d.]+) %  (\w+)", line) for line in lines)
    return {match[2]: float(match[1]) for match in itertools.takewhile(bool, found)}


@pytest.mark.slow
def test_the_demo_ends_with_an_answer_of_the_exported_model(tmp_path):
    output = run("scripts/demo.py", *SMALL, cwd=tmp_path).stdout
    assert output.count("scripts/train.py") == 2 and output.count("export/saved_model.py") == 1
    assert re.search(r"^demo/model/1: \d+ MB, verified\.$", output, re.MULTILINE)
    trained, exported = shares(output, "predict"), shares(output, "query")
    assert set(trained) == set(exported) == set(CLASSES)
    # The exported model sees JPEGs, which count for little.
    assert [exported[name] for name in CLASSES] == pytest.approx([trained[name] for name in CLASSES], abs=3)
    assert re.search(r"^\d+ % of the windows are named right\.$", output, re.MULTILINE)
    assert (tmp_path / "demo" / "scene.html").stat().st_size > 10_000
    again = run("scripts/demo.py", *SMALL, cwd=tmp_path).stdout
    assert "scripts/train.py" not in again and "export/saved_model.py" not in again
    assert shares(again, "query") == exported
    assert [path.name for path in (tmp_path / "demo" / "model").glob("[0-9]*")] == ["1"]


@pytest.mark.parametrize("written, trained, exported", [("1", 100, True), ("1", 300, False), (".77.1", 100, False)])
def test_an_export_of_another_model_or_half_of_one_is_none(tmp_path, written, trained, exported):
    model, graph = tmp_path / "model.keras", tmp_path / "model" / written / "saved_model.pb"
    graph.parent.mkdir(parents=True)
    for path, at in ((model, trained), (graph, 200)):
        path.touch()
        os.utime(path, (at, at))
    program = "import demo, pathlib, sys; print(demo.is_exported(*map(pathlib.Path, sys.argv[1:])))"
    command = [sys.executable, "-c", program, str(model), str(tmp_path / "model")]
    done = subprocess.run(command, cwd=DEMO.parent, capture_output=True, text=True, check=True)
    assert done.stdout == f"{exported}\n"
