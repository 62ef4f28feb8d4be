"""The demo, small: each step once, and only once."""

import os
import pathlib
import subprocess
import sys

DEMO = pathlib.Path(__file__).parents[2] / "scripts" / "demo.py"
SMALL = ("--demo_train_clips=32", "--demo_test_clips=8", "--epochs=1", "--workers=1")


def run(folder):
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, str(DEMO), *SMALL], cwd=folder, env=environment, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_the_demo_ends_with_an_answer_of_the_exported_model(tmp_path):
    output = run(tmp_path)
    assert output.count("scripts/train.py") == 2 and output.count("export/saved_model.py") == 1
    trained, exported = output.split("$ python scripts/predict.py")[1], output.split("$ python scripts/query.py")[1]
    assert "demo/model/1: " in trained and ", verified." in trained
    best = [text.splitlines()[2] for text in (trained, exported)]
    assert best[0] == best[1] and "MarkedMoves" in best[0], "the same class, with the same share of 8 clips' training"
    again = run(tmp_path)
    assert "scripts/train.py" not in again and "export/saved_model.py" not in again
    assert again.split("$ python scripts/query.py")[1].splitlines()[2] == best[1]
    assert [path.name for path in (tmp_path / "demo" / "model").glob("[0-9]*")] == ["1"]
