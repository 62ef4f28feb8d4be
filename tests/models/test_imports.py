"""The network and the losses are written in `keras.ops`: they import no TensorFlow, and nothing to their right."""

import ast
import pathlib

import pytest

import ccsn_tf

PACKAGE = pathlib.Path(ccsn_tf.__path__[0])
FILES = sorted(path for part in ("models", "losses") for path in (PACKAGE / part).rglob("*.py"))
TENSORFLOW = {"tensorflow", "tf2onnx", "tf_keras"}
TRAINING = "train_step.py"
EXCEPTIONS = (TRAINING, "iterating.py")  # and what asks XLA for kernels


def imported(tree):
    """Full names of all modules that the file imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_there_are_files_to_look_at():
    assert len(FILES) > 15 and sum(path.name in EXCEPTIONS for path in FILES) == len(EXCEPTIONS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_tensorflow(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set(imported(tree))
    uses = {name.split(".")[0] for name in names} & TENSORFLOW
    assert uses == ({"tensorflow"} if path.name in EXCEPTIONS else set())
    assert not [name for name in names if name.startswith(("keras.src", "keras.backend.tensorflow"))]
    if path.name not in EXCEPTIONS:
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "tf"]


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_tensorflow_is_imported_for_its_own_backend_only(name):
    (path,) = (path for path in FILES if path.name == name)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    at_top = [name for node in tree.body if isinstance(node, ast.Import) for name in imported(node)]
    assert "tensorflow" not in at_top  # it stands where the backend is known to be TensorFlow


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_from_the_right(path):
    """Data, training, evaluation and serving know the models, not the other way round (docs: layout)."""
    ours = {
        name.split(".")[1]
        for name in imported(ast.parse(path.read_text(encoding="utf-8")))
        if name.startswith("ccsn_tf.")
    }
    allowed = {"config", "errors", "losses", path.relative_to(PACKAGE).parts[0]}
    assert ours <= allowed
