"""Scripts as a user runs them."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]


def command(script, *arguments):
    """The words of a command; `script` is relative to the repository."""
    return [sys.executable, str(ROOT / script), *map(str, arguments)]


def run(script, *arguments, code=0, cwd=None):
    """Runs a script to its end, which is to have this exit status and no traceback."""
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    result = subprocess.run(
        command(script, *arguments), capture_output=True, text=True, check=False, timeout=300, env=environment, cwd=cwd
    )
    assert result.returncode == code, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result
