"""The losses once more, in plain Python floats and loops over explicit triplets, to hold the library against."""

import math

import numpy as np

CASES = [(distance, mining) for distance in ("euclidean", "squared") for mining in ("batch_hard", "semi_hard", "all")]


def distance_between(u, v, distance):
    square = sum((float(x) - float(y)) ** 2 for x, y in zip(u, v, strict=True))
    return square if distance == "squared" else math.sqrt(square)


def mine(anchors, references, anchor_labels, reference_labels, same_modality, distance, mining):
    """List of triplets (anchor index, distance to the positive, distance to the negative)."""
    triplets = []
    for i, anchor in enumerate(anchors):
        to_positives, to_negatives = [], []
        for j, reference in enumerate(references):
            if anchor_labels[i] != reference_labels[j]:
                to_negatives.append(distance_between(anchor, reference, distance))
            elif not (same_modality and i == j):
                to_positives.append(distance_between(anchor, reference, distance))
        if not to_positives or not to_negatives:
            continue
        if mining == "batch_hard":
            triplets.append((i, max(to_positives), min(to_negatives)))
        elif mining == "semi_hard":
            for p in to_positives:
                farther = [n for n in to_negatives if n > p]
                triplets.append((i, p, min(farther) if farther else max(to_negatives)))
        elif mining == "all":
            triplets.extend((i, p, n) for p in to_positives for n in to_negatives)
    return triplets


def triplet_term(positive, negative, margin, soft_margin):
    if soft_margin:
        return math.log1p(math.exp(positive - negative))
    return max(0.0, positive - negative + margin)


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
):
    triplets = mine(anchors, references, anchor_labels, reference_labels, same_modality, distance, mining)
    terms = [triplet_term(positive, negative, margin, soft_margin) for _, positive, negative in triplets]
    return sum(terms) / len(terms) if terms else 0.0


def centre_loss(embeddings, labels):
    total = 0.0
    for embedding, label in zip(embeddings, labels, strict=True):
        centre = np.mean([e for e, other in zip(embeddings, labels, strict=True) if other == label], axis=0)
        total += distance_between(embedding, centre, "squared")
    return total / len(labels)


def cross_entropy(label, logits, smoothing):
    total = math.log(sum(math.exp(x) for x in logits))
    of_class = [total - x for x in logits]
    return (1 - smoothing) * of_class[label] + smoothing * sum(of_class) / len(of_class)


def numeric_gradient(function, x, step=1e-6):
    """Central differences of a scalar function of a float64 array."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        shifted = []
        for sign in (1, -1):
            moved = x.copy()
            moved[index] += sign * step
            shifted.append(function(moved))
        gradient[index] = (shifted[0] - shifted[1]) / (2 * step)
    return gradient


def unit_rows(rng, count, width):
    """float32 array (count, width) of random rows of unit length."""
    x = rng.normal(size=(count, width))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
