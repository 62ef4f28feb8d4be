"""The network cut at the features of snippets: what one snippet costs, and what a clip's answer costs beyond it."""

import keras

from ccsn_tf.config.settings import STREAMS
from ccsn_tf.errors import UserError
from ccsn_tf.models.connections.block import ConnectionBlock
from ccsn_tf.models.heads import TemporalRelation


def snippet_parts(network: keras.Model) -> tuple[keras.Function, keras.Function]:
    """A `CCSN` in two parts that share its layers: a snippet's features are its own, whatever the clip around it.

    The second part on the first one's features is the network, at inference. A sliding window over a stream needs each
    snippet's features once (`ccsn_tf.streaming`).

    Args:
        network: a `CCSN`, or what `fold_batch_norms` has made of one.

    Returns:
        From the network's inputs to {"spatial", "temporal"}: float32 (B, K, D), a feature a segment. From these, of any
        K, averaged over K, to the network's outputs.

    Raises:
        UserError: a segment's features depend on the other segments, or their order counts.
    """
    features = {}

    def call(layer, *args, **kwargs):
        if isinstance(layer, TemporalRelation):
            raise UserError(
                "With `consensus` trn an answer depends on the order of a fixed number of segments, so that no window "
                "can slide over them: train with `consensus` mean."
            )
        if isinstance(layer, ConnectionBlock) and len(args[0][0].shape) == 5:
            raise UserError(
                "With `span` clip the streams' attention joins all segments of a clip, so that a snippet has no "
                "features of its own: train with `span` segment."
            )
        for stream in STREAMS:
            if layer.name == f"{stream}_consensus":
                features[stream] = args[0]
        return layer(*args, **kwargs)

    traced = keras.models.clone_model(network, clone_function=lambda layer: layer, call_function=call)
    return keras.Function(traced.input, features), keras.Function(features, traced.output)
