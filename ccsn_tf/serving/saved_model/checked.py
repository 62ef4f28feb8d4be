"""Functions of a SavedModel that check what they are sent when the graph runs: a server feeds whatever it gets."""

from __future__ import annotations

import tensorflow as tf


def concrete(function, specs, words=None):
    """The function of inputs of these specs, {name: tf.TensorSpec}; others end with InvalidArgument.

    Args:
        function: of tensors by name.
        specs: of its inputs.
        words: {name: what is said of an input whose sizes are wrong}; default: what TensorFlow says.
    """

    def checked(**inputs):
        tensors = {
            name: _of_shape(tensor, specs[name].shape, name, (words or {}).get(name)) for name, tensor in inputs.items()
        }
        return function(**tensors)

    return tf.function(checked, autograph=False).get_concrete_function(**specs)


def _of_shape(tensor, shape, name, words=None):
    """Checks the shape when the graph runs: a server feeds what it gets, whatever the signature declares.

    TensorFlow believes the declared shape and would drop the check, or reshape a wrong input into nonsense: hence the
    detour by a tensor of unknown shape.
    """
    unknown = tf.raw_ops.PlaceholderWithDefault(input=tensor, shape=tf.TensorShape(None), name=name)
    if words is None:
        return tf.ensure_shape(unknown, shape)
    ranked = tf.ensure_shape(unknown, [None] * shape.rank)
    found, wanted = tf.shape(ranked), tf.constant([-1 if size is None else size for size in shape])
    fits = tf.debugging.Assert(tf.reduce_all((found == wanted) | (wanted < 0)), [words, found], summarize=shape.rank)
    with tf.control_dependencies([fits]):
        return tf.ensure_shape(tf.identity(ranked), shape)


def same_segments(most, **inputs):
    """The two inputs (B, K, ...), once it is certain that they have the same B and K, neither zero, nor too many."""
    (ours, first), (theirs, second) = inputs.items()
    found = tf.shape(first)[:2], tf.shape(second)[:2]
    same = tf.debugging.Assert(
        tf.reduce_all(found[0] == found[1]),
        [f"{ours} and {theirs} differ in clips or segments: {ours}, {theirs}:", *found],
    )
    with tf.control_dependencies([same]):
        return some_segments(first, most), tf.identity(second)


def some_segments(inputs, most):
    """The input (B, K, ...), once it is certain that neither B nor K is zero, and that they are not too many."""
    found = tf.shape(inputs)[:2]
    count = tf.reduce_prod(tf.cast(found, tf.int64))
    checks = [
        tf.debugging.Assert(count > 0, ["a request needs at least one clip of one segment; clips, segments:", found]),
        tf.debugging.Assert(
            count <= most, [f"a request may have {most} segments in all: send fewer clips; clips, segments:", found]
        ),
    ]
    with tf.control_dependencies(checks):
        return tf.identity(inputs)
