"""Distances between embeddings, and which triplets count: those that a ranking loss averages over.

The functions of `MINING` take `distances` (N, M) float32, anchors by references, and two boolean masks (N, M) that say
which references are an anchor's positives and negatives; they return `Triplets`. An anchor takes part only if it has at
least one of each.
"""

from typing import Any, NamedTuple

from keras import ops

DISTANCES = ("euclidean", "squared")


def pairwise_distance(a, b, squared=False):
    """Distance of every row of `a` to every row of `b`.

    Each difference is formed before it is squared. The cheaper |a|^2 - 2ab + |b|^2 loses its digits to cancellation for
    close embeddings, which are what a ranking loss produces, and its matrix product may run in TF32 (three decimal
    digits) on a GPU. The price is an intermediate of N * M * D floats: 8 MiB for 128 clips of width 128. Sets of
    thousands of clips should be passed in chunks of rows.

    Args:
        a: float tensor (N, D), of any float dtype.
        b: float tensor (M, D).
        squared: bool, the squared Euclidean distance instead of the Euclidean.

    Returns:
        float32 tensor (N, M), at least 0; exactly 0 for equal rows, where the gradient is 0 as well. NaN stays NaN.
    """
    a, b = ops.cast(a, "float32"), ops.cast(b, "float32")
    square = ops.sum(ops.square(ops.expand_dims(a, 1) - ops.expand_dims(b, 0)), axis=-1)
    if squared:
        return square
    # The slope of sqrt at 0 is infinite, and infinity times the zero slope of the square is NaN. Both branches of
    # `where` are differentiated, so the root must not see the zeros at all. The test is for equality with 0, not for
    # "above 0", because the latter would turn NaN into a distance of 0.
    coincide = ops.equal(square, 0.0)
    return ops.where(coincide, 0.0, ops.sqrt(ops.where(coincide, 1.0, square)))


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
    """One triplet an anchor, (N,): farthest positive, nearest negative (Hermans et al. 2017, arXiv 1703.07737)."""
    return Triplets(
        positive=_masked_max(distances, positives),
        negative=_masked_min(distances, negatives),
        valid=ops.logical_and(ops.any(positives, axis=-1), ops.any(negatives, axis=-1)),
    )


def semi_hard(distances, positives, negatives):
    """One triplet a positive pair, (N, M): with the nearest negative that is farther than the positive.

    The semi-hard negatives of Schroff et al. 2015 (FaceNet, arXiv 1503.03832). Where no negative is strictly farther,
    the farthest negative stands in, as in TensorFlow Addons. Compares every positive with every negative: an
    intermediate of N * M * M elements.
    """
    to_positive, to_negative = ops.expand_dims(distances, 2), ops.expand_dims(distances, 1)
    farther = ops.logical_and(ops.expand_dims(negatives, 1), ops.greater(to_negative, to_positive))
    farthest = ops.expand_dims(_masked_max(distances, negatives), 1)
    return Triplets(
        positive=distances,
        negative=ops.where(ops.any(farther, axis=-1), _masked_min(to_negative, farther), farthest),
        valid=ops.logical_and(positives, ops.any(negatives, axis=-1, keepdims=True)),
    )


def all_triplets(distances, positives, negatives):
    """Every triplet there is, easy ones included ("batch all", Hermans et al. 2017); they broadcast to (N, M, M)."""
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
    return -_masked_max(-values, mask)
