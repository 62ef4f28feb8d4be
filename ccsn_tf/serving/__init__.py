"""What the ways of serving share: packages that only some of them need, and the folders that servers keep models in."""

import importlib
import os
import pathlib
import re
import types

from ccsn_tf.errors import UserError

# From 1.29 on the wheels of onnxruntime report to Microsoft unless this is set before they are loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def optional(package: str, extra: str) -> types.ModuleType:
    """Imports a package that an extra of setup.py installs.

    Raises:
        UserError: it is not installed, or cannot be loaded.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UserError(
            f"The package {package} is needed and cannot be imported ({error}): pip install -c constraints.txt -e "
            f"'.[{extra}]'."
        ) from None


def versions(folder: str | pathlib.Path) -> dict[int, pathlib.Path]:
    """{number: path} of what TensorFlow Serving takes for versions: what is in a folder under a number, in no order."""
    paths = pathlib.Path(folder).glob("*")
    return {int(path.name): path for path in paths if re.fullmatch("[0-9]+", path.name)}
