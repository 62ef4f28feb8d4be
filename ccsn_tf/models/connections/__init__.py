"""Connection blocks: by name, and your own."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable

import keras

from ccsn_tf.config.settings import CONNECTIONS
from ccsn_tf.errors import UserError
from ccsn_tf.models.connections.attention import CrossAttention, SharedAffinityConnection
from ccsn_tf.models.connections.block import ConnectionBlock
from ccsn_tf.models.connections.pointwise import ConcatConnection, ProductConnection, SumConnection

__all__ = ["ConnectionBlock", "connection_config", "connection_maker", "register_connection"]

# Each takes the layer's name and the block's dropout, and for the attention kinds `heads` and `position`.
_MAKERS: dict[str, Callable] = {
    "sum": SumConnection,
    "product": ProductConnection,
    "concat": ConcatConnection,
    "shared_affinity": SharedAffinityConnection,
    "nonlocal": lambda position=None, **arguments: CrossAttention(position="none", **arguments),
    "cross_attention": CrossAttention,
}


def register_connection(name: str, block: type[ConnectionBlock] | Callable) -> None:
    """Makes a connection block of your own available by name, to `CCSN(connection=name)` and to --connection.

    A name that is taken is replaced, with a warning: a notebook's cell can be run twice.

    Args:
        name: string.
        block: subclass of `ConnectionBlock`, or a function that returns an instance; called with the keyword arguments
            `name`, `dropout`, `heads` and `position` as far as its signature has them.

    Raises:
        UserError: no function or class, or the name "none".
    """
    if not callable(block):
        raise UserError(f"`block` must be a ConnectionBlock subclass or a function. Received: {block!r}")
    if name == "none":
        raise UserError("`name` none means no connection: choose another name.")
    if name in _MAKERS:
        warnings.warn(f"The connection {name!r} is replaced by {block!r}.", stacklevel=2)
    else:
        CONNECTIONS.append(name)
    _MAKERS[name] = block


def connection_maker(connection, **options) -> Callable[[str], ConnectionBlock] | None:
    """From what `CCSN(connection=...)` takes to a function that makes the block of a stage, given the layer's name.

    Args:
        connection: a name; a `ConnectionBlock` subclass, instance or serialised instance; a function that returns an
            instance; or None, which is "none".
        options: `dropout`, `heads`, `position`; a block gets those that its signature has. An instance has its own.

    Returns:
        The function; None for no connection.

    Raises:
        UserError: anything else.
    """
    if connection is None or connection == "none":
        return None
    if isinstance(connection, dict):
        connection = keras.saving.deserialize_keras_object(connection)
    if isinstance(connection, ConnectionBlock):
        return _Copies(connection)
    maker = _MAKERS.get(connection) if isinstance(connection, str) else connection
    if maker is None:
        raise UserError(f"`connection` must be one of {', '.join(CONNECTIONS)}. Received: {connection!r}.")
    if not callable(maker):
        raise UserError(
            "`connection` must be a name, a ConnectionBlock subclass or instance, or a function that returns one. "
            f"Received: {connection!r}."
        )
    return lambda name: _made(maker, {"name": name, **options}, connection)


def connection_config(connection, blocks: list[ConnectionBlock]):
    """The JSON-safe form of `CCSN(connection=...)`: a name as it is, anything else as a serialised block.

    Raises:
        UserError: the block's arguments are not in its `get_config()`.
    """
    if connection is None or isinstance(connection, str):
        return connection or "none"
    block = blocks[0]
    _check_config(block)
    return keras.saving.serialize_keras_object(block)


class _Copies:
    """Makes a block for each stage from one instance; one that cannot be copied serves one stage itself."""

    def __init__(self, block):
        self._block, self._used = block, block.built

    def __call__(self, name):
        try:
            _check_config(self._block)
        except UserError:
            if self._used:
                raise
            self._used = True
            return self._block
        return type(self._block).from_config({**self._block.get_config(), "name": name})


def _made(maker, options, connection):
    try:
        parameters = inspect.signature(maker).parameters
    except ValueError:  # some built-in types have none
        parameters = {}
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        options = {name: value for name, value in options.items() if name in parameters}
    elif inspect.isclass(maker):  # Keras's layers refuse what they do not know
        known = set().union(*(inspect.signature(c.__init__).parameters for c in maker.__mro__[:-1]))
        options = {name: value for name, value in options.items() if name in known}
    block = maker(**options)
    if not isinstance(block, ConnectionBlock):
        raise UserError(f"`connection` {connection!r} makes a {type(block).__name__}, not a ConnectionBlock.")
    return block


def _check_config(block):
    try:
        config = block.get_config()
    except NotImplementedError:
        config = {}
    parameters = inspect.signature(type(block).__init__).parameters.values()
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self"]
    missing = [name for name in named if name not in config]
    if missing:
        raise UserError(
            f"`connection` {type(block).__name__} takes {', '.join(missing)}, which its get_config() does not return: "
            "add get_config(), as in {**super().get_config(), '" + missing[0] + "': self." + missing[0] + "}."
        )
