"""Losses: cross-entropy and the modality ranking constraint, in `keras.ops`, float32 whatever the compute dtype."""

from ccsn_tf.losses.distances import DISTANCES, pairwise_distance
from ccsn_tf.losses.joint import JointLoss
from ccsn_tf.losses.mining import MINING, Triplets, all_triplets, batch_hard, pair_masks, semi_hard
from ccsn_tf.losses.ranking import INTRA, ModalityRankingLoss, centre_loss, positive_share, ranking_loss

__all__ = [
    "DISTANCES",
    "INTRA",
    "MINING",
    "JointLoss",
    "ModalityRankingLoss",
    "Triplets",
    "all_triplets",
    "batch_hard",
    "centre_loss",
    "pair_masks",
    "pairwise_distance",
    "positive_share",
    "ranking_loss",
    "semi_hard",
]
