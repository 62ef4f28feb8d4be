"""Whether the streams cooperate: what the connection blocks add, and whether the ranking terms learn."""

from collections.abc import Callable, Mapping

import keras
import numpy as np

from ccsn_tf.config.settings import STREAMS
from ccsn_tf.models.connections.block import ConnectionBlock, other_calls, relative_change

SMALL = 0.01  # a block that adds less does nothing
AT_REST = 0.95  # of the value that a ranking term has where it orders nothing

Inputs = Mapping[str, np.ndarray]


def block_shares(model: keras.Model, inputs: Inputs) -> dict[str, float]:
    """What each connection block adds to each stream, relative to the stream: |S' - S| / |S|, over a batch.

    Args:
        model: a `CCSN`, or the top of one.
        inputs: of the model, a batch.

    Returns:
        {"connection_block5/spatial": share, ...}, without dropout; empty for a model without connection.
    """
    blocks = [layer for layer in model.layers if isinstance(layer, ConnectionBlock)]
    shares = {}

    def recorded(block):
        def call(streams, training=None):
            joined = type(block).call(block, streams, training=training)
            for stream, before, after in zip(STREAMS, streams, joined, strict=True):
                shares[f"{block.name}/{stream}"] = relative_change(before, after)
            return joined

        return call

    if blocks:
        with other_calls(blocks, recorded):
            model(inputs, training=False)
    return shares


class CooperationState(keras.callbacks.Callback):
    """Logs the blocks' shares at the end of each epoch, and warns, in the last quarter, where the method does
    nothing.

    It is to stand before the callbacks that write the logs.

    Args:
        inputs: a batch, given when first needed.
        say: receives the warnings, each once.
    """

    def __init__(self, inputs: Callable[[], Inputs], say: Callable[[str], None]):
        super().__init__()
        self._make_inputs, self._say, self._inputs, self._said = inputs, say, None, set()

    def on_epoch_end(self, epoch, logs=None):
        if self._inputs is None:
            self._inputs = self._make_inputs()
        shares = block_shares(self.model, self._inputs)
        logs.update(shares)
        if 4 * (epoch + 1) < 3 * self.params["epochs"]:
            return  # it may come yet
        small = [name for name, share in shares.items() if share < SMALL]
        if small:
            self._warn(
                "block",
                f"After epoch {epoch + 1} these add less than {SMALL:.0%} to their stream: {', '.join(small)}. The "
                "connection does next to nothing: raise its rate, as in --lr_mults=connection:10.",
            )
        rest, weights = self.model.loss.ranking_at_rest(), self.model.loss.get_config()
        for term in ("intra", "inter"):
            if weights[f"lambda_{term}"] and logs[term] >= AT_REST * rest:
                self._warn(
                    term,
                    f"In epoch {epoch + 1} the ranking term {term} stood at {logs[term]:.2f}; without any order it is "
                    f"{rest:.2f}. It teaches nothing: try --mining=semi_hard, --temperature=0.1 or --lambda_{term}=0.",
                )

    def _warn(self, key, line):
        if key not in self._said:
            self._said.add(key)
            self._say(line)
