"""The network behind the signatures of a SavedModel: what is asked in, what is answered, what is refused."""

from __future__ import annotations

import json

import keras
import tensorflow as tf

from ccsn_tf.models.flow.iterating import COMPILED, LOOPED, iterations
from ccsn_tf.serving.saved_model.decoding import decode_segments

EMBEDDINGS = ("spatial_embedding", "temporal_embedding")


class ServedModel:
    """A network with signatures; which, says the subclass.

    All take any number B of clips and K of segments, B * K up to the limit that bounds memory: one request for more
    would take the server down with it. A request that does not fit ends with InvalidArgument and says why. One
    signature all have:

    metadata          request int32 (B,), any numbers -> metadata string (B,): the JSON of `metadata`, B times

    The answers: scores, spatial_scores, temporal_scores float32 (B, classes), which sum to 1; of the top classes by
    `scores`, best first, top_indices int32, top_labels string and top_scores float32 (B, top_k).

    Args:
        network: the model, as `CCSN` in inputs and outputs.
        metadata: from `make_metadata`.
    """

    def __init__(self, network: keras.Model, metadata: dict):
        self._network, self._metadata = network, metadata
        self.size, self.length = metadata["image_size"], metadata["flow_length"]
        self.max_segments = metadata["limits"]["segments_a_request"]
        specs = {name: tf.TensorSpec(tensor.shape, tensor.dtype) for name, tensor in network.input.items()}
        # Once in the graph, for all signatures: flow alone is thousands of nodes.
        with iterations(way_of(metadata)):
            self._outputs = tf.function(self._of_network, autograph=False).get_concrete_function(**specs)

    def save(self, path: str) -> None:
        """Writes a SavedModel into the folder `path`, which loads where neither Keras nor this package is."""
        holder = tf.Module(name="ccsn")
        holder.weights = [variable.value for variable in self._network.weights]  # of Keras's layers: nothing else
        tf.saved_model.save(holder, path, signatures=self.signatures())

    def signatures(self) -> dict:
        """Name -> concrete function."""
        return {"metadata": concrete(self.describe, {"request": tf.TensorSpec((None,), tf.int32)})}

    def describe(self, request):
        """One copy a number: a server that merges requests deals the answer out along the first axis.

        Four bytes ask for thousands, hence the bound.
        """
        count = tf.shape(request)[0]
        bound = tf.debugging.Assert(
            (count > 0) & (count <= self.max_segments),
            [f"a request for metadata has 1 to {self.max_segments} numbers; numbers:", count],
        )
        with tf.control_dependencies([bound]):
            return {"metadata": tf.fill([tf.identity(count)], json.dumps(self._metadata))}

    def _of_network(self, **inputs):
        return self._network(inputs, training=False)

    def answers(self, **inputs) -> dict:
        """The answers of the network to its inputs."""
        outputs = self._outputs(**inputs)
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

    def embeddings(self, **inputs) -> dict:
        """The embeddings that the network makes of its inputs."""
        outputs = self._outputs(**inputs)
        return {name: outputs[name] for name in EMBEDDINGS}


class ServedFlow(ServedModel):
    """A network of frames and stored flow, with signatures.

    serving_default   rgb uint8 (B, K, S, S, 3), flow uint8 (B, K, S, S, 2L) as in METHOD, Streams -> answers
    jpeg              rgb string (B, K), flow string (B, K, L): JPEGs, see `decode_segments` -> answers
    embed             as serving_default -> spatial_embedding, temporal_embedding: float32 (B, E), of unit length
    """

    def signatures(self) -> dict:
        arrays = {
            "rgb": tf.TensorSpec((None, None, self.size, self.size, 3), tf.uint8),
            "flow": tf.TensorSpec((None, None, self.size, self.size, 2 * self.length), tf.uint8),
        }
        jpegs = {
            "rgb": tf.TensorSpec((None, None), tf.string),
            "flow": tf.TensorSpec((None, None, self.length), tf.string),
        }
        return {
            "serving_default": concrete(self._classify, arrays),
            "jpeg": concrete(self._classify_jpeg, jpegs),
            "embed": concrete(self._embed, arrays),
            **super().signatures(),
        }

    def _classify(self, rgb, flow):
        rgb, flow = _same_segments(rgb, flow, self.max_segments)
        return self.answers(rgb=rgb, flow=flow)

    def _classify_jpeg(self, rgb, flow):
        rgb, flow = _same_segments(rgb, flow, self.max_segments)
        shape = tf.shape(rgb)
        frames, fields = decode_segments(tf.reshape(rgb, [-1]), tf.reshape(flow, [-1, self.length]), self.size)
        frames, fields = (tf.reshape(x, tf.concat([shape, x.shape[1:]], 0)) for x in (frames, fields))
        return self.answers(rgb=frames, flow=fields)

    def _embed(self, rgb, flow):
        rgb, flow = _same_segments(rgb, flow, self.max_segments)
        return self.embeddings(rgb=rgb, flow=flow)


def way_of(metadata: dict) -> str:
    """How a model of this metadata iterates its flow: not every server has XLA."""
    return COMPILED if metadata["xla"] else LOOPED


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


def _same_segments(rgb, flow, most):
    """The two inputs, once it is certain that they have the same B and K, neither of them zero, and not too many."""
    ours, theirs = tf.shape(rgb)[:2], tf.shape(flow)[:2]
    same = tf.debugging.Assert(
        tf.reduce_all(ours == theirs), ["rgb and flow differ in clips or segments: rgb, flow:", ours, theirs]
    )
    with tf.control_dependencies([same]):
        return some_segments(rgb, most), tf.identity(flow)


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
