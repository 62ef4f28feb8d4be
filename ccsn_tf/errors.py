"""The error that people are meant to read, and arguments that cannot be used, refused by it with their name."""

import math
import numbers
from collections.abc import Sequence


class UserError(ValueError):
    """One sentence for a person: which file, argument or flag is wrong, and what to do about it.

    The library names arguments in backquotes; the scripts print `name` as --name where it is a flag.
    """

    _keras_call_info_injected = True  # else Keras, where a layer raises it, would add a page on the layer's arguments


def class_names(classes: Sequence[str] | int) -> list[str]:
    """Names in label order, of names or their number. UserError: none, or twice the same."""
    names = classes
    if isinstance(classes, numbers.Integral) and not isinstance(classes, bool):
        names = range(classes)
    if not isinstance(names, Sequence) or isinstance(names, str) or not names:
        raise UserError(f"`classes` must be names in label order, or their number. Received: {classes!r}.")
    names = list(map(str, names))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"`classes` has {', '.join(twice)} twice: labels are places in it.")
    return names


def check_choice(name: str, value, choices: Sequence[str]) -> None:
    """UserError for what is not among the choices."""
    if value not in choices:
        raise UserError(f"`{name}` must be one of {', '.join(choices)}. Received: {name}={value}.")


def check_whole(name: str, value, least: int, most: float = math.inf) -> None:
    """UserError for what is no whole number from `least` to `most`."""
    if not isinstance(value, numbers.Integral) or not least <= value <= most:
        reach = f"of at least {least}" if most == math.inf else f"from {least} to {most}"
        raise UserError(f"`{name}` must be a whole number {reach}. Received: {name}={value}.")


def at_least_0(name: str, value) -> float:
    """The value as a float; UserError where it is no number, negative or not finite."""
    if not isinstance(value, numbers.Real) or not 0 <= value < math.inf:
        raise UserError(f"`{name}` must be a finite number of at least 0. Received: {name}={value}.")
    return float(value)
