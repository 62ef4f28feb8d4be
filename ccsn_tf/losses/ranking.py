"""The modality ranking constraint: embeddings ordered by class within and across the two streams (docs/METHOD.md)."""

from keras import ops

from ccsn_tf.errors import at_least_0, check_choice
from ccsn_tf.losses.mining import DISTANCES, MINING, pair_masks, pairwise_distance

INTRA = ("ranking", "centre", "both")


def ranking_loss(
    anchors,
    references,
    anchor_labels,
    reference_labels,
    *,
    same_modality,
    distance="euclidean",
    mining="batch_hard",
    margin=0.3,
    soft_margin=False,
    temperature=0.0,
):
    """R(a, r) of the method: triplets with anchors from one set, positives and negatives from another.

    The mean over the mined triplets of max(0, d(anchor, positive) - d(anchor, negative) + margin), or with
    `soft_margin` of log(1 + exp(d(anchor, positive) - d(anchor, negative))) (Hermans et al. 2017). Triplets are mined
    from the anchors that have both a positive and a negative; triplets that already keep the margin count as 0 in the
    mean, for all kinds of mining.

    Args:
        anchors: float tensor (N, E), meant to be of unit length.
        references: float tensor (M, E). The set `anchors` itself, in the same order, for the intra-modality term.
        anchor_labels: integer tensor (N,).
        reference_labels: integer tensor (M,).
        same_modality: if true an anchor is not its own positive (by position, so N = M); if false the other stream of
            the same clip is a valid positive.
        distance: "euclidean" or "squared".
        mining: "batch_hard", "semi_hard" or "all" (see `ccsn_tf.losses.mining`).
        margin: at least 0. Not used with `soft_margin`.
        soft_margin: log(1 + exp(.)) in place of the hinge with its margin.
        temperature: t. Above 0 the loss is contrastive (Khosla et al. 2020) in place of triplets: the mean over the
            anchors with a positive of -log(exp(cos(anchor, p) / t) / sum of the same over all references but the
            anchor itself), averaged over the positives p. Every pair counts, so it does not rest at a margin.

    Returns:
        float32 scalar, at least 0; exactly 0 with a zero gradient when no anchor has a positive and a negative.
    """
    positives, negatives = pair_masks(anchor_labels, reference_labels, same_modality)
    if temperature:
        return _contrastive(anchors, references, positives, negatives, temperature)
    distances = pairwise_distance(anchors, references, squared=distance == "squared")
    triplets = MINING[mining](distances, positives, negatives)
    excess = triplets.positive - triplets.negative
    losses = ops.softplus(excess) if soft_margin else ops.relu(excess + margin)
    # At least 1, so that a batch without triplets divides 0 by 1.
    count = ops.maximum(ops.sum(ops.cast(triplets.valid, "float32")), 1.0)
    return ops.sum(ops.where(triplets.valid, losses, 0.0)) / count


def _contrastive(anchors, references, positives, negatives, temperature):
    similarities = (1.0 - 0.5 * pairwise_distance(anchors, references, squared=True)) / temperature  # of unit vectors
    others = ops.where(ops.logical_or(positives, negatives), similarities, -1e9)
    log_shares = others - ops.logsumexp(others, axis=1, keepdims=True)
    count = ops.sum(ops.cast(positives, "float32"), axis=1)
    losses = -ops.sum(ops.where(positives, log_shares, 0.0), axis=1) / ops.maximum(count, 1.0)
    valid = ops.cast(ops.logical_and(count > 0, ops.any(negatives, axis=1)), "float32")
    return ops.sum(valid * losses) / ops.maximum(ops.sum(valid), 1.0)


def centre_loss(embeddings, labels):
    """Mean squared distance of the clips to the mean embedding of their class in this batch.

    Our choice for the method's centre term: the centre is that of the batch, so it needs no stored centres with their
    own update rule (Wen et al. 2016), and it follows the embeddings from the first step. A clip alone in its class is
    its own centre and adds 0 to the mean, which is over all clips.

    Args:
        embeddings: float tensor (B, E).
        labels: integer tensor (B,).

    Returns:
        float32 scalar, at least 0.
    """
    same_class = ops.cast(pair_masks(labels, labels, same_modality=False)[0], "float32")
    class_size = ops.sum(same_class, axis=1, keepdims=True)
    # The n points of a class lie at sum_i |x_i - centre|^2 = sum_ij |x_i - x_j|^2 / 2n from their centre: the same
    # value and gradient without a matrix product, and exactly 0 for equal embeddings.
    spread = same_class * pairwise_distance(embeddings, embeddings, squared=True) / (2.0 * class_size)
    return ops.mean(ops.sum(spread, axis=1))


def positive_share(labels):
    """Share of the clips that have another clip of their class in the batch: what intra-modality ranking can use.

    Args:
        labels: integer tensor (B,).

    Returns:
        float32 scalar in 0..1.
    """
    positives, _ = pair_masks(labels, labels, same_modality=True)
    return ops.mean(ops.cast(ops.any(positives, axis=1), "float32"))


class ModalityRankingLoss:
    """The two ranking terms of the method, within the streams and across them.

        intra = R(s, s) + R(m, m)        inter = R(s, m) + R(m, s)

    for spatial embeddings s and temporal embeddings m; R is `ranking_loss`. Each term mines per pair of modalities, so
    that the hardest triplets cannot all come from one of them. The terms come out unweighted.

    Args:
        distance, mining, margin, soft_margin, temperature: see `ranking_loss`.
        intra: "ranking" as above; "centre" for `centre_loss(s) + centre_loss(m)` in its place; "both" for the sum of
            the two.

    Raises:
        ValueError: an argument that cannot be used.

    Example:
        loss = ModalityRankingLoss(mining="semi_hard")
        terms = loss(spatial_embedding, temporal_embedding, labels)  # {"intra": ..., "inter": ...}
    """

    def __init__(
        self,
        distance="euclidean",
        mining="batch_hard",
        margin=0.3,
        soft_margin=False,
        intra="ranking",
        temperature=0.0,
    ):
        check_choice("distance", distance, DISTANCES)
        check_choice("mining", mining, MINING)
        check_choice("intra", intra, INTRA)
        at_least_0("margin", margin)
        at_least_0("temperature", temperature)
        self.intra = intra
        self._options = {
            "distance": distance,
            "mining": mining,
            "margin": float(margin),
            "soft_margin": bool(soft_margin),
            "temperature": float(temperature),
        }

    def __call__(self, spatial_embedding, temporal_embedding, labels):
        """Computes both terms.

        Args:
            spatial_embedding: float tensor (B, E), unit length.
            temporal_embedding: float tensor (B, E), of the same clips in the same order.
            labels: integer tensor (B,).

        Returns:
            `{"intra": scalar, "inter": scalar}`, float32, at least 0.
        """

        def rank(anchors, references, within):
            return ranking_loss(anchors, references, labels, labels, same_modality=within, **self._options)

        spatial, temporal = spatial_embedding, temporal_embedding
        intra = 0.0
        if self.intra != "centre":
            intra += rank(spatial, spatial, True) + rank(temporal, temporal, True)
        if self.intra != "ranking":
            intra += centre_loss(spatial, labels) + centre_loss(temporal, labels)
        inter = rank(spatial, temporal, False) + rank(temporal, spatial, False)
        return {"intra": intra, "inter": inter}

    def get_config(self):
        """Returns the arguments that make an equal loss."""
        return {**self._options, "intra": self.intra}
