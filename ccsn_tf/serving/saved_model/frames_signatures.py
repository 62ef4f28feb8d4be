"""The signatures of a network that computes flow itself: frames in, answer out."""

from __future__ import annotations

import tensorflow as tf

from ccsn_tf.serving.saved_model.decoding import decode_frames, scale_frames
from ccsn_tf.serving.saved_model.signatures import ServedModel, concrete, some_segments


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
        wrong_jpegs = {"frames": f"frames: send {count} JPEGs {each}); found:"}
        classify = concrete(self._classify, arrays, wrong)
        return {
            "serving_default": classify,
            "frames": classify,
            "jpeg_frames": concrete(self._classify_jpeg, jpegs, wrong_jpegs),
            "embed": concrete(self._embed, arrays, wrong),
            **super().signatures(),
        }

    def _classify(self, frames):
        return self.answers(frames=self._scaled(frames))

    def _classify_jpeg(self, frames):
        frames = some_segments(frames, self.max_segments)
        decoded = decode_frames(tf.reshape(frames, [-1, self.length + 1]), self.size)
        return self.answers(frames=tf.reshape(decoded, tf.concat([tf.shape(frames)[:2], decoded.shape[1:]], 0)))

    def _embed(self, frames):
        return self.embeddings(frames=self._scaled(frames))

    def _scaled(self, frames):
        frames = some_segments(frames, self.max_segments)
        shape = tf.shape(frames)
        scaled = scale_frames(tf.reshape(frames, tf.concat([[-1], shape[3:]], 0)), self.size)
        return tf.reshape(scaled, [shape[0], shape[1], self.length + 1, self.size, self.size, 3])
