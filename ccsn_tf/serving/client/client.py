"""A video in, labels out: input made as the served model's own metadata says, sent to TensorFlow Serving or Triton.

Example:
    client = Client("localhost:8500")  # gRPC; "http://localhost:8501" is REST, "http://localhost:8000/v2" is Triton
    answer = client.classify_video("jump.mp4")
    print(answer["top_labels"][0], answer["top_scores"][0])
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.data.views import InputForm, to_jpegs
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.metrics import softmax
from ccsn_tf.serving.client.calls import StatusError
from ccsn_tf.serving.client.clip_input import VideoFile, network_input
from ccsn_tf.serving.client.config import JPEG_SIGNATURES, client_config
from ccsn_tf.serving.client.kserve import KServeGrpcTransport, KServeTransport
from ccsn_tf.serving.client.server import Server
from ccsn_tf.serving.client.tf_serving import GrpcTransport, RestTransport

Result = TypeVar("Result")

# The request did not reach a model, or was turned away before it ran. To classify is to change nothing, so even a call
# whose answer was lost on the way back may be repeated. Everything else would fail again.
RETRIED = ("UNAVAILABLE", "RESOURCE_EXHAUSTED")
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds

# As the libraries say it, without a code for it.
_NOT_TRUSTED = re.compile("certificate|handshake|verification", re.IGNORECASE)
_OTHER_PROTOCOL = re.compile("http1|settings frame|wrong.version", re.IGNORECASE)
_NEEDED = {"scores", "spatial_logits", "temporal_logits"}  # of the outputs of a network


class Transport(Protocol):
    """A way to one model on a server. Methods raise `StatusError`, and end after `timeout` seconds.

    `takes_jpegs`: whether the model has a signature of JPEGs, or takes the network's arrays alone.
    """

    takes_jpegs: bool

    def versions(self, timeout: float) -> list[int]:
        """The versions that are ready to answer."""

    def metadata(self, version: int, timeout: float) -> str:
        """The JSON that a version says about itself. Raises KeyError and others where it has none of ours."""

    def predict(self, signature: str, inputs: dict, version: int | None, timeout: float) -> dict[str, np.ndarray]:
        """Calls a signature, of the newest version where None: name -> array; strings as str in object arrays."""

    def close(self) -> None:
        """Frees connections."""


class ServingError(UserError):
    """The server did not answer, or refused; `code` is the status's name, such as "DEADLINE_EXCEEDED"."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


class Client:
    """Talks to one served model; may be shared by threads.

    Args:
        server: "host:port" or "grpc://host:port" for gRPC, "http://host:port" for REST, "http://host:port/v2" for
            Triton; "grpcs://" and "https://" are these by TLS.
        model: the model's name on the server.
        timeout: seconds for a request, retries included.
        attempts: how often a request is sent at most. Repeated are only those that met no server, a full queue or a
            broken connection (see `RETRIED`).
        ca_file: PEM file of the certificates that TLS trusts; empty: the system's.
        token_file: file of a token that is sent as `Authorization: Bearer`, by TLS only; empty: none.

    Raises:
        UserError: an address of another kind, or a file that cannot be used.
    """

    def __init__(
        self,
        server: str,
        model: str = "ccsn",
        timeout: float = 30.0,
        attempts: int = 5,
        ca_file: str = "",
        token_file: str = "",
    ):
        self.server, self.model, self.timeout, self.attempts = server, model, timeout, attempts
        where = Server.parse(server, ca_file, token_file)
        ways = (RestTransport, KServeTransport), (GrpcTransport, KServeGrpcTransport)
        self._by_tls, self._transport = where.tls, ways[where.grpc][where.v2](where, model)
        self._known: tuple[int, dict, Config] | None = None  # version, metadata, settings

    def metadata(self) -> dict:
        """What the model says about itself; asked once.

        Raises:
            ServingError: no answer.
            UserError: the model is none of ours, or of a version that this package cannot follow.
        """
        return self._model()[1]

    def classify_video(self, path: str, segments: int = 0) -> dict[str, np.ndarray]:
        """Scores of one video, sent as JPEGs to TensorFlow Serving, and as the network's arrays to Triton.

        Args:
            path: a video file.
            segments: snippets to look at; 0: as many as the metadata says.

        Returns:
            scores, spatial_scores, temporal_scores float32 (classes,); top_labels str, top_scores float32 and
            top_indices int32 (top_k,), best first.

        Raises:
            VideoError: the video cannot be used.
            ServingError: no answer, or a refusal.
        """
        try:
            return self._classify_video(path, segments)
        except ServingError as error:
            if error.code != "NOT_FOUND" or self._known is None:
                raise
        # The version that the input was made for is no longer served: ask the newest what it wants, once.
        self._known = None
        return self._classify_video(path, segments)

    def predict(self, signature: str, inputs: dict[str, np.ndarray], version: int | None = None) -> dict:
        """Calls any signature with a batch; see `signatures.ServedModel`.

        Raises:
            ServingError: no answer, or a refusal.
        """
        return self._persist(lambda left: self._transport.predict(signature, inputs, version, left))

    def close(self) -> None:
        """Frees the connections; calls under way fail."""
        self._transport.close()

    def _classify_video(self, path, segments):
        version, metadata, config = self._model()
        segments = segments or config.eval.test_segments
        if self._transport.takes_jpegs:
            signature, inputs = JPEG_SIGNATURES[config.model.flow_source], jpeg_inputs(path, config, segments)
        else:
            signature, inputs = "serving_default", network_input(VideoFile(path, path), config, segments).arrays
        answer = self.predict(signature, {name: value[None] for name, value in inputs.items()}, version)
        answer = {name: value[0] for name, value in answer.items()}
        if self._transport.takes_jpegs:
            return answer
        if _NEEDED - answer.keys() or answer["scores"].shape != (len(metadata["classes"]),):
            raise ServingError("INTERNAL", f"{self.server} answers otherwise than its metadata say: export it again.")
        return _with_top(answer, metadata)

    def _model(self):
        known = self._known
        if known is None:  # several threads may ask at once: no harm, and none waits for the timeouts of the others
            version = max(self._persist(self._transport.versions, first=True), default=None)
            if version is None:
                raise ServingError("UNAVAILABLE", f"{self.server} has no version of {self.model} ready: wait for it.")
            metadata = self._ask_metadata(version)
            self._known = known = version, metadata, client_config(metadata)
        return known

    def _ask_metadata(self, version):
        try:
            return json.loads(self._persist(lambda left: self._transport.metadata(version, left)))
        except (ServingError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, ServingError) and error.code not in ("INVALID_ARGUMENT", "FAILED_PRECONDITION"):
                raise
            raise UserError(
                f"Model {self.model} on {self.server} has no metadata of ours ({error}): name a model that "
                "export/saved_model.py or export/triton/repository.py wrote."
            ) from None

    def _persist(self, call, first=False):
        """`persist`; `first`: the call tells whether the server speaks our protocol at all."""
        try:
            return persist(call, self.timeout, self.attempts)
        except StatusError as failure:
            code, reason = failure.code, " ".join(failure.message.split()) or "no reason given"
        if _OTHER_PROTOCOL.search(reason) or (first and code in ("INVALID_ARGUMENT", "INTERNAL")):
            code = "UNIMPLEMENTED"
        elif code == "UNAVAILABLE" and self._by_tls and _NOT_TRUSTED.search(reason):
            code = "UNAUTHENTICATED"
        raise ServingError(code, f"{self.server} {self._in_words(code, reason)}")

    def _in_words(self, code, reason):
        if code == "DEADLINE_EXCEEDED":
            return f"did not answer within {self.timeout:g} s: raise --timeout, or look at its load."
        if code == "NOT_FOUND":
            return (
                f"does not serve {self.model} ({reason}): name its model with --model; /v2 behind --server is for "
                "Triton, and only for that."
            )
        if code == "UNIMPLEMENTED":
            return (
                f"speaks another protocol ({reason}): --server is host:port for gRPC, http://host:port for REST, "
                "either with /v2 behind it for Triton; grpcs:// and https:// are TLS."
            )
        if code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
            if self._by_tls and _NOT_TRUSTED.search(reason):
                return f"is not trusted ({reason}): give --ca_file, and the host by the name in the certificate."
            return f"does not let this client in ({reason}): give --token_file, by grpcs:// or https://."
        if code == "UNAVAILABLE":
            return (
                f"cannot be reached ({reason}): start it, name another --server, or write grpcs:// or https:// if it "
                "speaks TLS."
            )
        if code == "RESOURCE_EXHAUSTED":
            return f"has too much to do ({reason}): try again later, or with fewer callers."
        return f"refuses the request ({code}: {reason})."


def persist(call: Callable[[float], Result], timeout: float, attempts: int) -> Result:
    """Calls until it succeeds, fails for good, or attempts or time run out.

    Pauses double from 0.1 s to 2 s; each is shortened by a random half, so that callers who failed together do not
    come back together.

    Args:
        call: called with the seconds that are left; raises `StatusError`.
        timeout: seconds, pauses included.
        attempts: at most so many calls.

    Raises:
        StatusError: of the last attempt.
    """
    end = time.monotonic() + timeout
    for attempt in range(1, attempts + 1):
        try:
            return call(end - time.monotonic())
        except StatusError as failure:
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0)
            late = time.monotonic() + pause >= end
            if failure.code not in RETRIED or attempt == attempts or late:
                raise
            time.sleep(pause)
    raise ValueError(f"attempts must be at least 1. Received: attempts={attempts}")


def jpeg_inputs(path: str, config: Config, segments: int) -> dict[str, np.ndarray]:
    """One video as a signature of JPEGs takes it, bytes in object arrays.

    Args:
        path: a video file.
        config: from `client_config`.
        segments: K.

    Returns:
        rgb (K,) and flow (K, L); of a model that computes flow, frames (K, L + 1) alone.

    Raises:
        VideoError: the video cannot be used.
    """
    jpegs = to_jpegs(InputForm(config.model).of_video(path, config, segments), config.data.jpeg_quality)
    return {name: np.array(values, object) for name, values in jpegs.items()}


def _with_top(outputs, metadata):
    """The network's outputs as a signature of ours answers."""
    scores = outputs["scores"]
    best = np.argsort(-scores, kind="stable")[: metadata["top_k"]]
    return {
        "scores": scores,
        "spatial_scores": softmax(outputs["spatial_logits"]),
        "temporal_scores": softmax(outputs["temporal_logits"]),
        "top_indices": best.astype(np.int32),
        "top_labels": np.array(metadata["classes"], object)[best],
        "top_scores": scores[best],
    }
