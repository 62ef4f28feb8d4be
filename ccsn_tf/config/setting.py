"""A setting: a field of a frozen dataclass that is checked when it is made, and a flag of the same name."""

from __future__ import annotations

import dataclasses
import math

from ccsn_tf.errors import UserError


def setting(default, help, choices=None, minimum=None, maximum=None):
    """A dataclass field that is also a flag: `choices` and the range are checked when the config is made."""
    metadata = {"help": help, "choices": choices, "minimum": minimum, "maximum": maximum}
    return dataclasses.field(default=default, metadata=metadata)


class Checked:
    """Base of a group of settings."""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))


def _check(field, value):
    choices, minimum, maximum = (field.metadata[key] for key in ("choices", "minimum", "maximum"))
    if choices and value not in choices:
        raise UserError(f"--{field.name} must be one of {', '.join(map(str, choices))}. Received: {value!r}.")
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, float) and not math.isfinite(number):
            raise UserError(f"--{field.name} must be a finite number. Received: {value}.")
        if minimum is not None and number < minimum:
            raise UserError(f"--{field.name} must be at least {minimum}. Received: {value}.")
        if maximum is not None and number > maximum:
            raise UserError(f"--{field.name} must be at most {maximum}. Received: {value}.")
