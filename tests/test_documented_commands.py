"""The commands in the documents name scripts, flags and flag files that there are; running them is left to people."""

import pathlib
import re
import shlex

import pytest

from ccsn_tf.config import settings

ROOT = pathlib.Path(__file__).parents[1]
DOCUMENTS = ("README.md", "docs/DATASETS.md", "docs/RECIPES.md", "docs/WEIGHTS.md")
COMMANDS = [
    pytest.param(command, id=f"{name}:{number}")
    for name in DOCUMENTS
    for number, command in enumerate(re.findall(r"^python (scripts/.*)", (ROOT / name).read_text(), re.MULTILINE))
]


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command):
    script, *arguments = shlex.split(command, comments=True)
    assert (ROOT / script).is_file()
    known = {field.name: field for _, field in settings()}
    sources = [ROOT / script]
    if script == "benchmarks/run.py":
        sources += (ROOT / "ccsn_tf" / "benchmark").glob("*.py")
    own = {name for path in sources for name in re.findall(r'DEFINE_\w+\(\s*"(\w+)"', path.read_text())}
    for argument in arguments:
        if not argument.startswith("--"):
            takes_words = script in ("scripts/predict.py", "scripts/compare.py")
            assert takes_words or (script, argument) == ("benchmarks/run.py", "model")
            continue
        name, _, value = argument[2:].partition("=")
        if name in own:
            continue
        if name == "flagfile":
            assert (ROOT / value).is_file()
        else:
            choices = known[name].metadata["choices"]
            assert value and (not choices or value in choices)


def test_every_flag_file_is_documented():
    texts = "".join((ROOT / name).read_text() for name in DOCUMENTS)
    for path in ROOT.glob("*.flags"):
        assert f"--flagfile={path.name}" in texts or path.name == "demo.flags"
    for path in (ROOT / "scripts" / "recipes").iterdir():
        assert f"`{path.name}`" in texts
