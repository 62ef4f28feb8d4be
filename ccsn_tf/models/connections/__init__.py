"""Connection blocks by name."""

from ccsn_tf.models.connections.attention import CrossAttention, SharedAffinityConnection
from ccsn_tf.models.connections.block import ConnectionBlock
from ccsn_tf.models.connections.pointwise import ConcatConnection, ProductConnection, SumConnection

__all__ = ["CONNECTIONS", "ConnectionBlock", "make_connection"]

_MAKERS = {
    "sum": lambda heads, position, rest: SumConnection(**rest),
    "product": lambda heads, position, rest: ProductConnection(**rest),
    "concat": lambda heads, position, rest: ConcatConnection(**rest),
    "shared_affinity": lambda heads, position, rest: SharedAffinityConnection(heads, **rest),
    "nonlocal": lambda heads, position, rest: CrossAttention(heads, "none", **rest),
    "cross_attention": lambda heads, position, rest: CrossAttention(heads, position, **rest),
}
CONNECTIONS = ("none", *_MAKERS)


def make_connection(kind: str, heads: int, position: str, name: str, dropout: float = 0.0) -> ConnectionBlock:
    """The connection block of a kind other than "none".

    Args:
        kind: a name in `CONNECTIONS`.
        heads: heads of the attention kinds.
        position: position bias of "cross_attention".
        name: the layer's name.
        dropout: share of the messages left out in training, see `ConnectionBlock`.

    Raises:
        ValueError: unknown kind.
    """
    if kind not in _MAKERS:
        raise ValueError(f"kind must be one of {', '.join(_MAKERS)}. Received: kind={kind!r}")
    return _MAKERS[kind](heads, position, {"name": name, "dropout": dropout})
