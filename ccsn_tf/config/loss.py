"""Settings of the joint loss."""

from __future__ import annotations

import dataclasses

from ccsn_tf.config.setting import Checked, setting


@dataclasses.dataclass(frozen=True)
class LossConfig(Checked):
    """Weights and form of the joint loss (METHOD: Losses)."""

    weight_spatial: float = setting(1.0, "w_s: weight of the spatial cross-entropy.", minimum=0)
    weight_temporal: float = setting(1.0, "w_m: weight of the temporal cross-entropy.", minimum=0)
    weight_fused: float = setting(1.0, "w_f: weight of the fused cross-entropy.", minimum=0)
    lambda_intra: float = setting(0.5, "Weight of the ranking within each modality.", minimum=0)
    lambda_inter: float = setting(0.5, "Weight of the ranking across modalities.", minimum=0)
    intra: str = setting("ranking", "Form of the intra-modality term.", choices=("ranking", "centre", "both"))
    distance: str = setting("euclidean", "Distance between embeddings.", choices=("euclidean", "squared"))
    mining: str = setting("batch_hard", "Which triplets count.", choices=("batch_hard", "semi_hard", "all"))
    margin: float = setting(0.3, "Margin of the ranking.", minimum=0)
    soft_margin: bool = setting(False, "log(1 + exp(.)) in place of the margin.")
    label_smoothing: float = setting(0.0, "Label smoothing of the cross-entropies.", minimum=0.0, maximum=0.9)
