"""Connection blocks: by name, and your own."""

import inspect
from collections.abc import Callable

import keras

from ccsn_tf.config.settings import CONNECTIONS, register
from ccsn_tf.errors import UserError
from ccsn_tf.models.connections.attention import CrossAttention, SharedAffinityConnection
from ccsn_tf.models.connections.block import ConcatConnection, ConnectionBlock, ProductConnection, SumConnection

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
    register("connection", name, block, _MAKERS, CONNECTIONS)


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
        connection = _saved(connection)
    if isinstance(connection, ConnectionBlock):
        return _copies(connection)
    maker = _MAKERS.get(connection) if isinstance(connection, str) else connection
    if maker is None:
        raise UserError(f"`connection` must be one of {', '.join(CONNECTIONS)}. Received: {connection!r}.")
    if not callable(maker) or isinstance(maker, keras.layers.Layer):
        raise UserError(
            "`connection` must be a name, a ConnectionBlock subclass or instance, or a function that returns one. "
            f"Received: {connection!r}."
        )
    known = _parameters(maker)

    def make(name):
        given = {"name": name, **options}
        given = {key: value for key, value in given.items() if known is None or key in known}
        try:
            block = maker(**given)
        except TypeError as error:
            raise UserError(
                f"`connection` {connection!r} cannot be called with {', '.join(given)} ({error}): pass an instance, or "
                "a function that returns one."
            ) from error
        if not isinstance(block, ConnectionBlock):
            raise UserError(f"`connection` {connection!r} makes a {type(block).__name__}, not a ConnectionBlock.")
        return block

    return make


def connection_config(connection, blocks: list[ConnectionBlock]):
    """The JSON-safe form of `CCSN(connection=...)`: a name as it is, anything else as a serialised block.

    Raises:
        UserError: the block's arguments are not in its `get_config()`.
    """
    if connection is None or isinstance(connection, str):
        return connection or "none"
    _check_config(blocks[0])
    return keras.saving.serialize_keras_object(blocks[0])


def _saved(config):
    """The block of a serialised form.

    Its class is the one of that name in the module that it was saved from, as it is defined last (a notebook's cell can
    be run twice); or that of another module, as long as only one has a class of that name.
    """
    found = {cls.__module__: cls for cls in _subclasses(ConnectionBlock) if cls.__name__ == config["class_name"]}
    if not found:
        return keras.saving.deserialize_keras_object(config)
    if len(found) > 1 and config["module"] not in found:
        raise UserError(
            f"`connection` {config['class_name']} of the module {config['module']} is not defined, but others of that "
            f"name are, in {', '.join(found)}: import it, or only one of them."
        )
    kind = found.get(config["module"]) or next(iter(found.values()))
    with keras.saving.custom_object_scope({config["registered_name"]: kind}):
        return keras.saving.deserialize_keras_object(config)


def _subclasses(kind):
    """All of them that there are, in the order of their definition as far as they have the same base."""
    for subclass in kind.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def _copies(block):
    """Makes a block for each stage from one instance; one that cannot be copied serves one stage itself."""
    unused = [] if block.built else [block]

    def make(name):
        try:
            _check_config(block)
        except UserError:
            if not unused:
                raise
            return unused.pop()
        return type(block).from_config({**block.get_config(), "name": name})

    return make


def _parameters(maker) -> set[str] | None:
    """Names of the keyword arguments that a class, its bases' included, or a function takes; None: any."""
    if not inspect.isclass(maker):
        parameters = inspect.signature(maker).parameters
        return None if any(p.kind is p.VAR_KEYWORD for p in parameters.values()) else set(parameters)
    known = set()
    for base in maker.__mro__:
        parameters = inspect.signature(base.__init__).parameters
        known |= set(parameters)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            break
    return known


def _check_config(block):
    config = block.get_config()
    parameters = list(inspect.signature(type(block).__init__).parameters.values())
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self"]
    if any(name not in named for name in config) and not any(p.kind is p.VAR_KEYWORD for p in parameters):
        raise UserError(
            f"`connection` {type(block).__name__}.__init__() does not take the arguments of the base class: let it "
            "take **kwargs, and pass them on, as in super().__init__(**kwargs)."
        )
    missing = [name for name in named if name not in config]
    if missing:
        raise UserError(
            f"`connection` {type(block).__name__} takes {', '.join(missing)}, which its get_config() does not return: "
            "add get_config(), as in {**super().get_config(), '" + missing[0] + "': self." + missing[0] + "}."
        )
