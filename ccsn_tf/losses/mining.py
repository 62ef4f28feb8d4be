"""Which triplets count: from distances and pair masks to the triplets that a ranking loss averages over.

Every function takes `distances` (N, M) float32, anchors by references, and two boolean masks (N, M) that say which
references are an anchor's positives and negatives; it returns `Triplets`. An anchor takes part only if it has at least
one of each.
"""

from typing import Any, NamedTuple

from keras import ops


class Triplets(NamedTuple):
    """Mined triplets; the three tensors broadcast to one shape, in which each element is one triplet.

    Attributes:
        positive: float32, distance of the anchor to the positive.
        negative: float32, distance of the anchor to the negative.
        valid: bool, whether the element is a triplet. Where it is false the distances are finite but mean nothing.
    """

    positive: Any
    negative: Any
    valid: Any


def label_vector(name, labels):
    """`labels` as a tensor (N,). Columns and one-hot rows are refused: they would broadcast into wrong losses."""
    labels = ops.convert_to_tensor(labels)
    if len(labels.shape) != 1:
        raise ValueError(f"`{name}` must be a vector, one class index a clip. Received: shape {tuple(labels.shape)}")
    return labels


def pair_masks(anchor_labels, reference_labels, same_modality):
    """Positive and negative masks from labels.

    Args:
        anchor_labels: integer tensor (N,).
        reference_labels: integer tensor (M,).
        same_modality: bool. If true, anchor i and reference i are the same embedding (N = M), no positive pair.
            If false, they are two streams of a clip, a valid positive pair.

    Returns:
        Two bool tensors (N, M): same class (less the anchor itself), other class.
    """
    anchor_labels = label_vector("anchor_labels", anchor_labels)
    reference_labels = label_vector("reference_labels", reference_labels)
    same_class = ops.equal(ops.expand_dims(anchor_labels, 1), ops.expand_dims(reference_labels, 0))
    other_class = ops.logical_not(same_class)
    if not same_modality:
        return same_class, other_class
    n, m = anchor_labels.shape[0], reference_labels.shape[0]
    if None not in (n, m) and n != m:  # None: known at run time only
        raise ValueError(f"Within a modality, anchors and references are the same clips. Received: {n} and {m} clips")
    itself = ops.eye(ops.shape(anchor_labels)[0], ops.shape(reference_labels)[0], dtype="bool")
    return ops.logical_and(same_class, ops.logical_not(itself)), other_class


def batch_hard(distances, positives, negatives):
    """One triplet an anchor: its farthest positive and its nearest negative (Hermans et al. 2017, arXiv 1703.07737).

    Returns:
        `Triplets` of shape (N,).
    """
    return Triplets(
        positive=_masked_max(distances, positives),
        negative=_masked_min(distances, negatives),
        valid=ops.logical_and(ops.any(positives, axis=-1), ops.any(negatives, axis=-1)),
    )


def semi_hard(distances, positives, negatives):
    """One triplet a positive pair: with the nearest negative that is farther than the positive.

    The semi-hard negatives of Schroff et al. 2015 (FaceNet, arXiv 1503.03832). Where no negative is strictly farther,
    the farthest negative stands in, as in TensorFlow Addons. Compares every positive with every negative: an
    intermediate of N * M * M elements.

    Returns:
        `Triplets` of shape (N, M).
    """
    to_positive = ops.expand_dims(distances, 2)
    to_negative = ops.expand_dims(distances, 1)
    farther = ops.logical_and(ops.expand_dims(negatives, 1), ops.greater(to_negative, to_positive))
    farthest = ops.expand_dims(_masked_max(distances, negatives), 1)
    has_negative = ops.any(negatives, axis=-1, keepdims=True)
    return Triplets(
        positive=distances,
        negative=ops.where(ops.any(farther, axis=-1), _masked_min(to_negative, farther), farthest),
        valid=ops.logical_and(positives, has_negative),
    )


def all_triplets(distances, positives, negatives):
    """Every triplet there is, easy ones included ("batch all", Hermans et al. 2017).

    Returns:
        `Triplets` that broadcast to (N, M, M): anchor, positive, negative.
    """
    return Triplets(
        positive=ops.expand_dims(distances, 2),
        negative=ops.expand_dims(distances, 1),
        valid=ops.logical_and(ops.expand_dims(positives, 2), ops.expand_dims(negatives, 1)),
    )


MINING = {"batch_hard": batch_hard, "semi_hard": semi_hard, "all": all_triplets}


def _masked_max(values, mask):
    """Largest of the masked values along the last axis; 0, with a zero gradient, where the mask is empty."""
    largest = ops.max(ops.where(mask, values, float("-inf")), axis=-1)
    return ops.where(ops.any(mask, axis=-1), largest, 0.0)


def _masked_min(values, mask):
    """Smallest of the masked values along the last axis; 0, with a zero gradient, where the mask is empty."""
    smallest = ops.min(ops.where(mask, values, float("inf")), axis=-1)
    return ops.where(ops.any(mask, axis=-1), smallest, 0.0)
