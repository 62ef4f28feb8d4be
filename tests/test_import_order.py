"""Imports go one way: a module imports what stands before it in this order, or beside it."""

import pathlib
import re

ORDER = ["errors", "files", "progress", "start_up", "worker", "worker_pool", "config", "losses", "models", "data"]
ORDER += ["evaluation.metrics", "training", "evaluation", "streaming", "serving"]
PACKAGE = pathlib.Path(__file__).parents[1] / "ccsn_tf"


def rank(module):
    parts = [".".join(module.split(".")[1:n]) for n in (3, 2)]  # "evaluation.metrics" before "evaluation"
    return next(ORDER.index(part) for part in parts if part in ORDER)


def test_nothing_is_imported_from_the_right():
    wrong = []
    for path in sorted(
        set(PACKAGE.rglob("*.py")) - {PACKAGE / "__init__.py"}
    ):  # the face of the package sees all of it
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for found in re.findall(
            r"^\s*(?:from|import) (ccsn_tf\.[\w.]+)", path.read_text(encoding="utf-8"), re.MULTILINE
        ):
            wrong += [f"{module} imports {found}"] if rank(found) > rank(module) else []
    assert len(ORDER) == 15 and not wrong
