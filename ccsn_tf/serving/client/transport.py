"""A way to a served model: what a transport can do, how it fails, and when a call is worth repeating."""

from __future__ import annotations

from typing import Protocol

import numpy as np

# The request did not reach a model, or was turned away before it ran. To classify is to change nothing, so even a call
# whose answer was lost on the way back may be repeated. Everything else would fail again.
RETRIED = ("UNAVAILABLE", "RESOURCE_EXHAUSTED")

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0


class StatusError(Exception):
    """A call that failed: `code`, a canonical status name such as "UNAVAILABLE", and `message`."""

    def __init__(self, code: str, message: str):
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


class Transport(Protocol):
    """A way to one model on a server. Methods raise `StatusError`, and end after `timeout` seconds.

    `takes_jpegs`: whether the model has a signature of JPEGs, or takes the network's arrays alone.
    """

    takes_jpegs: bool

    def versions(self, timeout: float) -> list[int]:
        """The versions that are ready to answer."""

    def metadata(self, version: int, timeout: float) -> str:
        """The JSON that a version says about itself. Raises KeyError and others where it has none of ours."""

    def predict(self, signature: str, inputs: dict, version: int | None, timeout: float) -> dict[str, np.ndarray]:
        """Calls a signature, of the newest version where None: name -> array; strings as str in object arrays."""

    def close(self) -> None:
        """Frees connections."""


class ServingTransport:
    """What the ways to TensorFlow Serving share."""

    takes_jpegs = True

    def metadata(self, version: int, timeout: float) -> str:
        return self.predict("metadata", {"request": np.zeros(1, np.int32)}, version, timeout)["metadata"][0]
