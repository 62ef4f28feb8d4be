"""The demo, small: each step once, and only once."""

import itertools
import re

import pytest
from commands import run

from ccsn_tf.data.demo.render import CLASSES

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
