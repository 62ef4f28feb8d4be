"""Pages of one file from Jinja2 templates that lie beside the code."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import jinja2


def page_template(path: str | pathlib.Path, **filters: Callable) -> jinja2.Template:
    """A template whose values are escaped, and whose names must all be given; `filters` by their name in it. It may
    include `head.html`, which lies here."""
    path = pathlib.Path(path)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([path.parent, pathlib.Path(__file__).parent]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= filters
    return environment.get_template(path.name)
