"""Connection blocks by name."""

from ccsn_tf.models.connection.attention import CrossAttention, SharedAffinityConnection
from ccsn_tf.models.connection.block import ConnectionBlock
from ccsn_tf.models.connection.pointwise import ConcatConnection, ProductConnection, SumConnection

__all__ = ["CONNECTIONS", "ConnectionBlock", "make_connection"]

_MAKERS = {
    "sum": lambda heads, position, name: SumConnection(name=name),
    "product": lambda heads, position, name: ProductConnection(name=name),
    "concat": lambda heads, position, name: ConcatConnection(name=name),
    "shared_affinity": lambda heads, position, name: SharedAffinityConnection(heads, name=name),
    "nonlocal": lambda heads, position, name: CrossAttention(heads, "none", name=name),
    "cross_attention": lambda heads, position, name: CrossAttention(heads, position, name=name),
}
CONNECTIONS = ("none", *_MAKERS)


def make_connection(kind: str, heads: int, position: str, name: str) -> ConnectionBlock:
    """The connection block of a kind other than "none".

    Args:
        kind: a name in `CONNECTIONS`.
        heads: heads of the attention kinds.
        position: position bias of "cross_attention".
        name: the layer's name.

    Raises:
        ValueError: unknown kind.
    """
    if kind not in _MAKERS:
        raise ValueError(f"kind must be one of {', '.join(_MAKERS)}. Received: kind={kind!r}")
    return _MAKERS[kind](heads, position, name)
