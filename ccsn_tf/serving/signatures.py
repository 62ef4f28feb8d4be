"""The network behind the signatures of a SavedModel: what is asked in, what is answered, what is refused."""

from __future__ import annotations

import json

import keras
import tensorflow as tf

from ccsn_tf.serving.decoding import decode_segments


class ServedModel:
    """A network with signatures.

    All take any number B of clips and K of segments, B * K up to the limit that bounds memory: one request for more
    would take the server down with it. A request that does not fit ends with InvalidArgument and says why.

    serving_default   rgb uint8 (B, K, S, S, 3), flow uint8 (B, K, S, S, 2L) as in METHOD, Streams -> answers
    jpeg              rgb string (B, K), flow string (B, K, L): JPEGs, see `decode_segments` -> answers
    embed             as serving_default -> spatial_embedding, temporal_embedding: float32 (B, E), of unit length
    metadata          request int32 (B,), any numbers -> metadata string (B,): the JSON of `metadata`, B times

    The answers: scores, spatial_scores, temporal_scores float32 (B, classes), which sum to 1; of the top classes by
    `scores`, best first, top_indices int32, top_labels string and top_scores float32 (B, top_k).

    Args:
        network: the model, as `CCSN` in inputs and outputs.
        metadata: from `make_metadata`.
    """

    def __init__(self, network: keras.Model, metadata: dict):
        self._network, self._metadata = network, metadata
        self._size, self._length = metadata["image_size"], metadata["flow_length"]
        self._max_segments = metadata["limits"]["segments_a_request"]

    def save(self, path: str) -> None:
        """Writes a SavedModel into the folder `path`, which loads where neither Keras nor this package is."""
        holder = tf.Module(name="ccsn")
        holder.weights = [variable.value for variable in self._network.weights]  # of Keras's layers: nothing else
        tf.saved_model.save(holder, path, signatures=self.signatures())

    def signatures(self) -> dict:
        """Name -> concrete function."""
        arrays = {
            "rgb": tf.TensorSpec((None, None, self._size, self._size, 3), tf.uint8),
            "flow": tf.TensorSpec((None, None, self._size, self._size, 2 * self._length), tf.uint8),
        }
        jpegs = {
            "rgb": tf.TensorSpec((None, None), tf.string),
            "flow": tf.TensorSpec((None, None, self._length), tf.string),
        }
        request = {"request": tf.TensorSpec((None,), tf.int32)}
        return {
            "serving_default": _concrete(self.classify, arrays),
            "jpeg": _concrete(self.classify_jpeg, jpegs),
            "embed": _concrete(self.embed, arrays),
            "metadata": _concrete(self.describe, request),
        }

    def classify(self, rgb, flow):
        rgb, flow = _same_segments(rgb, flow, self._max_segments)
        return self._answers(self._outputs(rgb, flow))

    def classify_jpeg(self, rgb, flow):
        rgb, flow = _same_segments(rgb, flow, self._max_segments)
        shape = tf.shape(rgb)
        frames, fields = decode_segments(tf.reshape(rgb, [-1]), tf.reshape(flow, [-1, self._length]), self._size)
        clips = [tf.reshape(x, tf.concat([shape, x.shape[1:]], 0)) for x in (frames, fields)]
        return self._answers(self._outputs(*clips))

    def embed(self, rgb, flow):
        rgb, flow = _same_segments(rgb, flow, self._max_segments)
        outputs = self._outputs(rgb, flow)
        return {name: outputs[name] for name in ("spatial_embedding", "temporal_embedding")}

    def describe(self, request):
        """One copy a number: a server that merges requests deals the answer out along the first axis.

        Four bytes ask for thousands, hence the bound.
        """
        count = tf.shape(request)[0]
        bound = tf.debugging.Assert(
            (count > 0) & (count <= self._max_segments),
            [f"a request for metadata has 1 to {self._max_segments} numbers; numbers:", count],
        )
        with tf.control_dependencies([bound]):
            return {"metadata": tf.fill([tf.identity(count)], json.dumps(self._metadata))}

    def _outputs(self, rgb, flow):
        return self._network({"rgb": rgb, "flow": flow}, training=False)

    def _answers(self, outputs):
        scores = tf.nn.softmax(outputs["logits"])
        top_scores, top_indices = tf.math.top_k(scores, self._metadata["top_k"])
        return {
            "scores": scores,
            "spatial_scores": tf.nn.softmax(outputs["spatial_logits"]),
            "temporal_scores": tf.nn.softmax(outputs["temporal_logits"]),
            "top_indices": top_indices,
            "top_labels": tf.gather(tf.constant(self._metadata["classes"]), top_indices),
            "top_scores": top_scores,
        }


def _concrete(function, specs):
    def checked(**inputs):
        return function(**{name: _of_shape(tensor, specs[name].shape, name) for name, tensor in inputs.items()})

    return tf.function(checked, autograph=False).get_concrete_function(**specs)


def _of_shape(tensor, shape, name):
    """Checks the shape when the graph runs: a server feeds what it gets, whatever the signature declares.

    TensorFlow believes the declared shape and would drop the check, or reshape a wrong input into nonsense: hence the
    detour by a tensor of unknown shape.
    """
    unknown = tf.raw_ops.PlaceholderWithDefault(input=tensor, shape=tf.TensorShape(None), name=name)
    return tf.ensure_shape(unknown, shape)


def _same_segments(rgb, flow, most):
    """The two inputs, once it is certain that they have the same B and K, neither of them zero, and not too many."""
    ours, theirs = tf.shape(rgb)[:2], tf.shape(flow)[:2]
    count = tf.reduce_prod(tf.cast(ours, tf.int64))
    checks = [
        tf.debugging.Assert(
            tf.reduce_all(ours == theirs), ["rgb and flow differ in clips or segments: rgb, flow:", ours, theirs]
        ),
        tf.debugging.Assert(count > 0, ["a request needs at least one clip of one segment; clips, segments:", ours]),
        tf.debugging.Assert(
            count <= most, [f"a request may have {most} segments in all: send fewer clips; clips, segments:", ours]
        ),
    ]
    with tf.control_dependencies(checks):
        return tf.identity(rgb), tf.identity(flow)
