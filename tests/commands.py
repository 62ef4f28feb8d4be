"""Scripts as a user runs them, and quicker."""

import atexit
import functools
import multiprocessing
import multiprocessing.forkserver
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile
import unittest.mock

ROOT = pathlib.Path(__file__).parents[1]

# As long as a test may take: other work may slow the machine down.
_SECONDS = 600

# What scripts import that takes seconds.
_SLOW_TO_IMPORT = [
    "tensorflow",
    "keras",
    "ccsn_tf.evaluation.evaluate",
    "ccsn_tf.training.train",
    "ccsn_tf.serving.clips",
]


def command(script, *arguments):
    """The words of a command; `script` is relative to the repository."""
    return [sys.executable, str(ROOT / script), *map(str, arguments)]


def run(script, *arguments, code=0, cwd=None):
    """Runs a script to its end, which is to have this exit status and no traceback."""
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    return _checked(
        subprocess.run(
            command(script, *arguments),
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
            env=environment,
            cwd=cwd,
        ),
        code,
    )


def run_forked(script, *arguments, code=0, cwd=None):
    """The same in a process that has TensorFlow as it begins, which saves the five seconds that importing it takes.

    For tests of what a script does; `run` is for those of how it starts, and of what TensorFlow says meanwhile.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("out", "err")]
        words = command(script, *arguments)[1:]
        process = forked(_as_main, words, cwd or os.getcwd(), *paths)
        process.join(_SECONDS)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(words, _SECONDS)
        out, err = (pathlib.Path(path).read_text() for path in paths)
    return _checked(subprocess.CompletedProcess(words, process.exitcode, out, err), code)


def forked(target, *arguments):
    """A process that has TensorFlow as it begins, started with a function of a module."""
    process = _with_tensorflow().Process(target=target, args=arguments)
    process.start()
    return process


def _checked(result, code):
    assert result.returncode == code, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result


@functools.cache
def _with_tensorflow():
    """Where processes begin: copies of one that has imported TensorFlow, as quiet as scripts make it, and done nothing
    with it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_SLOW_TO_IMPORT)
    with unittest.mock.patch.dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3"):
        multiprocessing.forkserver.ensure_running()
    return context


def _as_main(words, cwd, out, err):
    for number, path in ((1, out), (2, err)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    os.chdir(cwd)
    sys.argv[:] = words
    sys.path.insert(0, os.path.dirname(words[0]))
    try:
        runpy.run_path(words[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()
