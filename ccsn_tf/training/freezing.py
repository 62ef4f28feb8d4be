"""Streams whose first stages keep the weights that they start from."""

from __future__ import annotations

from ccsn_tf.config import TrainConfig
from ccsn_tf.errors import UserError
from ccsn_tf.models.ccsn import CCSN, STREAMS


def freeze_stages(model: CCSN, config: TrainConfig) -> None:
    """Freezes the stages of each stream up to `freeze_spatial`, `freeze_temporal`, in place.

    Their weights are not trained, and their BatchNormalizations use the statistics that they start with and keep them.
    To be called before `compile`.

    Raises:
        UserError: no such stage.
    """
    for stream in STREAMS:
        last = getattr(config, f"freeze_{stream}")
        stages = model.stages(stream)
        if not last:
            continue
        if last not in stages:
            raise UserError(f"--freeze_{stream}={last} is no stage of the backbone: choose among {', '.join(stages)}.")
        for name, stage in stages.items():
            stage.trainable = False
            if name == last:
                break
