"""How the embeddings of the two streams lie: by class, across streams, and as an index for retrieval.

METHOD, "Test protocol". Distances are Euclidean, between unit vectors: 0..2, and 1.41 for unrelated
directions.
"""

import numpy as np

# Distances held at a time: float64 while they are formed, 16 MiB, whatever the number of clips.
_ELEMENTS_A_CHUNK = 1 << 21

# Squared distances below are rounding of the network's float32 unit vectors. Without it, embeddings that coincide, as
# those of a collapsed network, would be ranked by the noise of the matrix product.
_COINCIDENT = 1e-12


def embedding_report(spatial: np.ndarray, temporal: np.ndarray, labels: np.ndarray) -> dict:
    """Variation within classes, distance to other classes, and retrieval across streams.

    Every figure is a mean over clips, so that a class counts by its clips and not by the square of them.

    Args:
        spatial: float (N, E), embeddings of the RGB stream; brought to unit length (again).
        temporal: float (N, E), embeddings of the flow stream of the same clips.
        labels: integers (N,).

    Returns:
        Plain ints and floats in nested dicts, ready for JSON; `None` stands for a mean over nothing, and for every
        mean where an embedding is not finite.

        clips, classes: N, and how many classes occur.
        not_finite: clips with NaN or infinity in an embedding.
        variation: `spatial` and `temporal`: distance of a clip to the other clips of its class in the same stream;
            `cross`: distance of a clip's embedding in one stream to those of its class in the other, where its own is
            one of them (as in the ranking loss). The lower, the more compact.
        nearest_other_class: distance to the nearest clip of another class: `spatial`, `temporal`, and `cross`, from
            either stream to the other. The higher above the variation, the better the classes are apart.
        retrieval: `flow_to_rgb` and `rgb_to_flow`, each {"queries", "recall_at_1", "mean_average_precision"}, 0..1.
            The gallery of a query is every clip in the other stream except the query's own: to find the same video
            again is no sign of recognising its action. A query whose class has no other clip has nothing to find
            and is left out. At equal distance clips of other classes come first, so that a collapsed network is not
            rewarded.
    """
    spatial, temporal, labels = np.asarray(spatial), np.asarray(temporal), np.asarray(labels)
    finite = np.isfinite(spatial).all(axis=1) & np.isfinite(temporal).all(axis=1)
    # One bad clip would turn means into NaN; leaving it out would hide it. An empty set makes them all None.
    kept = slice(None) if finite.all() else slice(0)
    s, m, y = _unit(spatial[kept]), _unit(temporal[kept]), labels[kept]
    within_spatial, nearest_spatial, *_ = _measure(s, s, y, across=False)
    within_temporal, nearest_temporal, *_ = _measure(m, m, y, across=False)
    cross, nearest_of_spatial, *to_temporal = _measure(s, m, y, across=True)
    _, nearest_of_temporal, *to_spatial = _measure(m, s, y, across=True)
    return {
        "clips": len(labels),
        "classes": len(np.unique(labels)),
        "not_finite": int(np.sum(~finite)),
        "variation": {
            "spatial": _mean(within_spatial),
            "temporal": _mean(within_temporal),
            "cross": _mean(cross),  # the same pairs, and the same mean, from either side
        },
        "nearest_other_class": {
            "spatial": _mean(nearest_spatial),
            "temporal": _mean(nearest_temporal),
            "cross": _mean(np.concatenate([nearest_of_spatial, nearest_of_temporal])),
        },
        "retrieval": {"flow_to_rgb": _retrieval(*to_spatial), "rgb_to_flow": _retrieval(*to_temporal)},
    }


def _measure(queries, gallery, labels, across):
    """Measures each row of `queries` (N, E) against `gallery` (N, E), in chunks of rows.

    Returns:
        float64 (N,) each, NaN where undefined for the clip: distance to the class, to the nearest clip of another, and
        across streams the average precision and whether the first that is found is a hit.
    """
    count = len(queries)
    same_class, nearest_other, precision, first_is_hit = np.full((4, count), np.nan)
    step = max(1, _ELEMENTS_A_CHUNK // max(1, count))
    for start in range(0, count, step):
        rows = slice(start, min(start + step, count))
        distances = _distances(queries[rows], gallery)
        same = labels[rows, None] == labels
        others = np.where(same, np.float32(np.inf), distances)
        nearest = others.min(axis=1)
        nearest_other[rows] = np.where(np.isinf(nearest), np.nan, nearest)
        apart = same.copy()
        apart[np.arange(rows.stop - start), np.arange(start, rows.stop)] = False
        same_class[rows] = _masked_mean(distances, same if across else apart)
        if across:
            others.sort(axis=1)
            ranked = [_precision(d[k], o) for d, k, o in zip(distances, apart, others, strict=True)]
            precision[rows], first_is_hit[rows] = np.transpose(ranked)
    return same_class, nearest_other, precision, first_is_hit


def _distances(a, b):
    """Euclidean, float32 (len(a), len(b)). By way of the product in float64, whose cancellation leaves 1e-16."""
    squares = a @ (-2.0 * b.T)
    squares += np.sum(a * a, axis=1)[:, None]
    squares += np.sum(b * b, axis=1)
    squares[squares < _COINCIDENT] = 0.0
    return np.sqrt(squares, out=squares).astype(np.float32)  # float32: sorts twice as fast, and makes ties of noise


def _masked_mean(distances, mask):
    """Mean of each row where `mask`, NaN where it is nowhere set."""
    counts = mask.sum(axis=1)
    sums = np.sum(distances, axis=1, where=mask, dtype=np.float64)
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)


def _precision(positives, others):
    """(average precision, 1 if the first found is of the class) of a query; NaN, NaN where nothing is to be found.

    Args:
        positives: distances (P,) to the gallery's clips of the query's class.
        others: sorted distances to all others, padded with infinity.
    """
    if not len(positives):
        return np.nan, np.nan
    before = np.searchsorted(others, np.sort(positives), side="right")
    found = np.arange(1, len(positives) + 1)
    return np.mean(found / (found + before)), float(before[0] == 0)


def _retrieval(precision, first_is_hit):
    return {
        "queries": int(np.sum(~np.isnan(first_is_hit))),
        "recall_at_1": _mean(first_is_hit),
        "mean_average_precision": _mean(precision),
    }


def _unit(vectors):
    """float64 rows of unit length; a row of zeros stays one."""
    vectors = vectors.astype(np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _mean(values):
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else None
