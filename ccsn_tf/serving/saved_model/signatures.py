"""The network behind the signatures of a SavedModel: what is asked in, what is answered, what is refused."""

import json

import keras
import tensorflow as tf

from ccsn_tf.errors import UserError
from ccsn_tf.models.flow.loops import COMPILED, LOOPED, iterations
from ccsn_tf.models.snippets import snippet_parts
from ccsn_tf.serving.saved_model.decoding import decode_frames, decode_segments, scale_frames


class ServedModel:
    """A network with signatures; which, says the subclass, by `signatures()`: {name: concrete function}.

    Its `arrays` and `pictures` make the network's inputs, {name: (B, K, ...)}, of what signatures take, checked.

    All take any number B of clips and K of segments, B * K up to the limit that bounds memory: one request for more
    would take the server down with it. A request that does not fit ends with InvalidArgument and says why. All have

    metadata          request int32 (B,), any numbers -> metadata string (B,): the JSON of `metadata`, B times
    snippet           as serving_default, without K -> spatial, temporal: float32 (B, D), the features of B snippets
    answer            spatial, temporal float32 (B, K, D): features of clips -> answers, and what embed gives

    but for the last two where a snippet has no features of its own (`snippet_parts`). With these a server holds no
    state for a stream: whoever watches it keeps its snippets' features.

    The answers: scores, spatial_scores, temporal_scores float32 (B, classes), which sum to 1; of the top classes by
    `scores`, best first, top_indices int32, top_labels string and top_scores float32 (B, top_k).

    Args:
        network: the model, as `CCSN` in inputs and outputs.
        metadata: from `make_metadata`.

    Attributes:
        widths: of a snippet's features, {stream: D}; empty where it has none of its own.
    """

    def __init__(self, network: keras.Model, metadata: dict):
        self._network, self._metadata = network, metadata
        self.size, self.length = metadata["image_size"], metadata["flow_length"]
        self.max_segments = metadata["limits"]["segments_a_request"]
        # Once in the graph, for all signatures.
        try:
            self._features, self._heads = part_functions(network, metadata)
            self._outputs = lambda **inputs: self._heads(**self._features(**inputs))
            self.widths = {name: spec.shape[-1] for name, spec in self._features.structured_outputs.items()}
        except UserError:
            self._outputs, self.widths = network_function(network, metadata), {}

    def save(self, path: str) -> None:
        """Writes a SavedModel into the folder `path`, which loads where neither Keras nor this package is."""
        holder = tf.Module(name="ccsn")
        holder.weights = [variable.value for variable in self._network.weights]  # of Keras's layers: nothing else
        tf.saved_model.save(holder, path, signatures=self.signatures())

    def _classify(self, **inputs):
        return self._answers(self._outputs(**self.arrays(**inputs)))

    def _classify_jpeg(self, **jpegs):
        return self._answers(self._outputs(**self.pictures(**jpegs)))

    def _embed(self, **inputs):
        return _embeddings(self._outputs(**self.arrays(**inputs)))

    def _common(self, specs, words=None):
        """The signatures that all have; `snippet`'s inputs have the `specs` of clips, but for K."""
        found = {"metadata": _concrete(self._describe, {"request": tf.TensorSpec((None,), tf.int32)})}
        if self.widths:
            ones = {name: tf.TensorSpec((None, *spec.shape[2:]), spec.dtype) for name, spec in specs.items()}
            features = {name: tf.TensorSpec((None, None, width), tf.float32) for name, width in self.widths.items()}
            found |= {"snippet": _concrete(self._snippet, ones, words), "answer": _concrete(self._answer, features)}
        return found

    def _describe(self, request):
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

    def _snippet(self, **inputs):
        found = self._features(**self.arrays(**{name: value[:, None] for name, value in inputs.items()}))
        return {stream: feature[:, 0] for stream, feature in found.items()}

    def _answer(self, spatial, temporal):
        spatial, temporal = _same_segments(self.max_segments, spatial=spatial, temporal=temporal)
        outputs = self._heads(spatial=spatial, temporal=temporal)
        return {**self._answers(outputs), **_embeddings(outputs)}

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
            "serving_default": _concrete(self._classify, arrays),
            "jpeg": _concrete(self._classify_jpeg, jpegs),
            "embed": _concrete(self._embed, arrays),
            **self._common(arrays),
        }

    def arrays(self, rgb, flow):
        rgb, flow = _same_segments(self.max_segments, rgb=rgb, flow=flow)
        return {"rgb": rgb, "flow": flow}

    def pictures(self, rgb, flow):
        rgb, flow = _same_segments(self.max_segments, rgb=rgb, flow=flow)
        frames, fields = decode_segments(tf.reshape(rgb, [-1]), tf.reshape(flow, [-1, self.length]), self.size)
        return {"rgb": _of_clips(frames, rgb), "flow": _of_clips(fields, rgb)}


class ServedFrames(ServedModel):
    """A network of frames, with signatures.

    serving_default   frames uint8 (B, K, L+1, H, W, 3): the consecutive frames of snippets, RGB -> answers
    frames            the same, by the name of its input
    jpeg_frames       frames string (B, K, L+1): the same as JPEGs, see `decode_frames` -> answers
    embed             as serving_default -> spatial_embedding, temporal_embedding: float32 (B, E), of unit length

    Any H and W will do: the centre square of each frame is cropped and scaled to (S, S), to the bit as for training;
    frames of (S, S) are taken as they are. Flow is computed from what comes out.
    """

    def signatures(self) -> dict:
        count = self.length + 1
        arrays = {"frames": tf.TensorSpec((None, None, count, None, None, 3), tf.uint8)}
        jpegs = {"frames": tf.TensorSpec((None, None, count), tf.string)}
        each = f"a snippet, (clips, segments, {count}"
        wrong = {"frames": f"frames: send {count} RGB frames {each}, height, width, 3); found:"}
        wrong_snippets = {"frames": f"frames: send {count} RGB frames, (snippets, {count}, height, width, 3); found:"}
        wrong_jpegs = {"frames": f"frames: send {count} JPEGs {each}); found:"}
        classify = _concrete(self._classify, arrays, wrong)
        return {
            "serving_default": classify,
            "frames": classify,
            "jpeg_frames": _concrete(self._classify_jpeg, jpegs, wrong_jpegs),
            "embed": _concrete(self._embed, arrays, wrong),
            **self._common(arrays, wrong_snippets),
        }

    def arrays(self, frames):
        frames = _some_segments(frames, self.max_segments)
        scaled = scale_frames(tf.reshape(frames, tf.concat([[-1], tf.shape(frames)[3:]], 0)), self.size)
        return {"frames": _of_clips(tf.reshape(scaled, [-1, self.length + 1, self.size, self.size, 3]), frames)}

    def pictures(self, frames):
        frames = _some_segments(frames, self.max_segments)
        return {"frames": _of_clips(decode_frames(tf.reshape(frames, [-1, self.length + 1]), self.size), frames)}


def _of_clips(segments, clips):
    """Segments (B K, ...) as those of clips (B, K, ...)."""
    return tf.reshape(segments, tf.concat([tf.shape(clips)[:2], segments.shape[1:]], 0))


def _embeddings(outputs):
    return {name: outputs[name] for name in ("spatial_embedding", "temporal_embedding")}


def _concrete(function, specs, words=None):
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


def _same_segments(most, **inputs):
    """The two inputs (B, K, ...), once it is certain that they have the same B and K, neither zero, nor too many."""
    (ours, first), (theirs, second) = inputs.items()
    found = tf.shape(first)[:2], tf.shape(second)[:2]
    same = tf.debugging.Assert(
        tf.reduce_all(found[0] == found[1]),
        [f"{ours} and {theirs} differ in clips or segments: {ours}, {theirs}:", *found],
    )
    with tf.control_dependencies([same]):
        return _some_segments(first, most), tf.identity(second)


def _some_segments(inputs, most):
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


def network_function(network: keras.Model, metadata: dict):
    """The network as one concrete function of its inputs by name, of any B and K, without dropout.

    Its flow iterates by XLA or in a loop, as the metadata says: not every server has XLA.
    """
    return _function(lambda inputs: network(inputs, training=False), network.input, metadata)


def part_functions(network: keras.Model, metadata: dict):
    """`snippet_parts` of the network likewise, each a concrete function of its inputs by name.

    Raises:
        UserError: see `snippet_parts`.
    """
    snippets, heads = snippet_parts(network)
    features = _function(snippets, network.input, metadata)
    return features, _function(heads, features.structured_outputs, metadata)


def _function(function, inputs, metadata):
    specs = {name: tf.TensorSpec(tensor.shape, tensor.dtype) for name, tensor in inputs.items()}
    with iterations(COMPILED if metadata["xla"] else LOOPED):
        called = tf.function(lambda **given: function(given), autograph=False)
        return called.get_concrete_function(**specs)
