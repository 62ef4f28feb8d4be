"""Distances between two sets of embeddings."""

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
        squared: bool, the squared Euclidean distance instead of the Euclidean. Defaults to `False`.

    Returns:
        float32 tensor (N, M), at least 0; exactly 0 for equal rows, where the gradient is 0 as well. NaN stays NaN.
    """
    a = ops.cast(a, "float32")
    b = ops.cast(b, "float32")
    square = ops.sum(ops.square(ops.expand_dims(a, 1) - ops.expand_dims(b, 0)), axis=-1)
    if squared:
        return square
    # The slope of sqrt at 0 is infinite, and infinity times the zero slope of the square is NaN. Both branches of
    # `where` are differentiated, so the root must not see the zeros at all. The test is for equality with 0, not for
    # "above 0", because the latter would turn NaN into a distance of 0.
    coincide = ops.equal(square, 0.0)
    root = ops.sqrt(ops.where(coincide, 1.0, square))
    return ops.where(coincide, 0.0, root)
