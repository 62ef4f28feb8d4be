"""Learning rates that differ between the weights of one model, as TSN's recipes ask."""

from __future__ import annotations

from collections.abc import Mapping

import keras

from ccsn_tf.config import TrainConfig
from ccsn_tf.models.ccsn import CCSN
from ccsn_tf.models.connections.block import ConnectionBlock
from ccsn_tf.models.flow.pyramidal_flow import PyramidalFlow


def rate_factors(model: CCSN, config: TrainConfig) -> dict[int, float]:
    """What the learning rate of each weight is multiplied by (Wang et al., Temporal Segment Networks, ECCV 2016).

    The factors of `temporal_rate` (everything that belongs to the temporal stream), `temporal_stem_rate` (its first
    convolution, which cross-modality initialisation has left furthest from its goal), `connection_rate` (the connection
    blocks: an Adam step is at most the learning rate, whatever the gradient, so that at the rate of pretrained streams
    BN_0's scale would not leave zero in a short training), `flow_rate` (learnable flow, whose weights are departures
    from a classical method: likewise) and `bias_rate` multiply.

    Returns:
        {id of a trainable variable: factor}; variables with the factor 1 are left out.
    """
    network = model.network("temporal")
    own = [layer for layer in model.layers if layer.name.startswith("temporal_") and not hasattr(layer, "layers")]
    temporal = {id(v) for layer in (network, *own) for v in layer.trainable_variables}
    blocks = [layer for layer in model.layers if isinstance(layer, ConnectionBlock)]
    connection = {id(v) for block in blocks for v in block.trainable_variables}
    flow = {id(v) for layer in own if isinstance(layer, PyramidalFlow) for v in layer.trainable_variables}
    stem = next(layer for layer in network.layers if layer.weights)
    stem = {id(v) for v in stem.trainable_variables}
    factors = {}
    for variable in model.trainable_variables:
        factor = config.temporal_rate if id(variable) in temporal else 1.0
        factor *= config.temporal_stem_rate if id(variable) in stem else 1.0
        factor *= config.connection_rate if id(variable) in connection else 1.0
        factor *= config.flow_rate if id(variable) in flow else 1.0
        factor *= config.bias_rate if variable.name == "bias" else 1.0
        if factor != 1.0:
            factors[id(variable)] = factor
    return factors


class _PerWeight:
    """Mixin for a Keras optimizer: `set_factors` gives weights a multiple of the learning rate.

    Weight decay follows the common rate. The factors are those of a live model and are not saved.
    """

    _factors: Mapping[int, float] = {}

    def set_factors(self, factors: Mapping[int, float]) -> None:
        """Takes {id of a variable: factor}."""
        self._factors = dict(factors)

    def update_step(self, gradient, variable, learning_rate):
        # Under TensorFlow this is the variable inside the Keras variable, and a replica's share of it at that.
        whole = self._trainable_variables[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * self._factors.get(id(whole), 1.0))


@keras.saving.register_keras_serializable("ccsn_tf")
class SGD(_PerWeight, keras.optimizers.SGD):
    """Keras's SGD, with rates per weight."""


@keras.saving.register_keras_serializable("ccsn_tf")
class AdamW(_PerWeight, keras.optimizers.AdamW):
    """Keras's AdamW, with rates per weight."""
