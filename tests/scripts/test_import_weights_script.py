"""The importer as a command; what it makes is tests/training/test_import_weights.py's."""

import os
import pathlib
import subprocess
import sys

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "import_weights.py"


def test_a_mistake_ends_in_one_sentence(tmp_path):
    command = [sys.executable, str(SCRIPT), "--layout=tsn", "--spatial=nowhere/rgb.pth", f"--workdir={tmp_path}/run"]
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)
    assert result.returncode == 1 and not result.stdout
    assert result.stderr.startswith("import_weights: nowhere/rgb.pth does not exist")
    assert len(result.stderr.splitlines()) == 1 and not (tmp_path / "run").exists()
