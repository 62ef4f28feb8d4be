"""Packages that only some ways of serving need."""

from __future__ import annotations

import importlib
import types

from ccsn_tf.errors import UserError


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
