"""The commands in the documents name scripts, flags and flag files that there are; running them is left to people."""

import pathlib
import re
import shlex

import pytest

from ccsn_tf.config import settings

ROOT = pathlib.Path(__file__).parents[1]
DOCUMENTS = ("README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
TAKE_WORDS = {f"scripts/{name}.py" for name in ("predict", "compare", "query", "similar", "watch")} | {
    "benchmarks/run.py"
}
COMMANDS = [
    pytest.param(command, id=f"{name}:{number}")
    for name in DOCUMENTS
    for number, command in enumerate(
        re.findall(r"^ *python ((?:scripts|export|benchmarks)/[^$&\n]*)$", (ROOT / name).read_text(), re.MULTILINE)
    )
]


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command):
    script, *arguments = shlex.split(command, comments=True)
    assert (ROOT / script).is_file()
    known = {field.name: field for _, field in settings()}
    sources = [ROOT / script, *((ROOT / "benchmarks").glob("*.py") if script.startswith("benchmarks/") else [])]
    own = {name for path in sources for name in re.findall(r'DEFINE_\w+\([^"]*"(\w+)"', path.read_text())}
    for argument in arguments:
        if not argument.startswith("--"):
            assert script in TAKE_WORDS or argument == "..."
            continue
        name, _, value = argument[2:].partition("=")
        if name in own:
            continue
        if name == "flagfile":
            assert (ROOT / value).is_file()
        else:
            choices = known[name].metadata["choices"]
            assert value and (not isinstance(choices, tuple) or value in choices)


def test_links_between_documents_lead_somewhere():
    for name in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / name).read_text()):
            assert ((ROOT / name).parent / target).exists(), f"{name}: {target}"
    headings = {
        name: {
            re.sub(r"[^\w\- ]", "", line.lstrip("# ")).lower().replace(" ", "-")
            for line in (ROOT / name).read_text().splitlines()
            if line.startswith("#")
        }
        for name in DOCUMENTS
    }
    for name in DOCUMENTS:
        for target, anchor in re.findall(r"\]\(([\w./]*\.md)?#([^)]+)\)", (ROOT / name).read_text()):
            path = ((ROOT / name).parent / target).resolve() if target else ROOT / name
            assert anchor in headings[str(path.relative_to(ROOT))], f"{name}: {target}#{anchor}"
