"""Losses: cross-entropy and the modality ranking constraint, in `keras.ops`, float32 whatever the compute dtype."""

from ccsn_tf.losses.joint import JointLoss
from ccsn_tf.losses.ranking import ModalityRankingLoss, centre_loss, positive_share, ranking_loss

__all__ = ["JointLoss", "ModalityRankingLoss", "centre_loss", "positive_share", "ranking_loss"]
