"""A video in, labels out: input made as the served model's own metadata says, sent to TensorFlow Serving or Triton.

Example:
    client = Client("localhost:8500")  # gRPC; "http://localhost:8501" is REST, "http://localhost:8000/v2" is Triton
    answer = client.classify_video("jump.mp4")
    print(answer["top_labels"][0], answer["top_scores"][0])
"""

import asyncio
import concurrent.futures
import json
import re

import numpy as np

from ccsn_tf.config import Config
from ccsn_tf.errors import UserError
from ccsn_tf.evaluation.metrics import with_scores
from ccsn_tf.serving.client.calls import Server, StatusError, call_with_retries
from ccsn_tf.serving.client.clip_input import VideoFile, jpeg_inputs, network_input
from ccsn_tf.serving.client.transports import GrpcTransport, KServeGrpcTransport, KServeTransport, RestTransport
from ccsn_tf.serving.metadata import JPEG_SIGNATURES, client_config

# As the libraries say it, without a code for it.
_NOT_TRUSTED = re.compile("certificate|handshake|verification", re.IGNORECASE)
_OTHER_PROTOCOL = re.compile("http1|settings frame|wrong.version", re.IGNORECASE)
# Of the answers of a signature, and of the outputs of a network.
_OF_SIGNATURE = {"scores", "top_labels", "top_scores"}
_OF_NETWORK = {"scores", "spatial_logits", "temporal_logits"}


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
            broken connection (see `calls.call_with_retries`).
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
        return self._with_retries(lambda left: self._transport.predict(signature, inputs, version, left))

    def close(self) -> None:
        """Frees the connections; calls under way fail."""
        self._transport.close()

    def _classify_video(self, path, segments):
        version, metadata, config = self._model()
        segments = segments or config.eval.test_segments
        if self._transport.takes_jpegs:
            signature, inputs = JPEG_SIGNATURES[config.model.flow_source], jpeg_inputs(path, config, segments)
        else:
            signature, inputs = "serving_default", network_input(VideoFile(path, path), config, segments)
        answer = self.predict(signature, {name: value[None] for name, value in inputs.items()}, version)
        answer = {name: value[0] for name, value in answer.items()}
        needed = _OF_SIGNATURE if self._transport.takes_jpegs else _OF_NETWORK
        if needed - answer.keys() or answer["scores"].shape != (len(metadata["classes"]),):
            raise ServingError("INTERNAL", f"{self.server} answers otherwise than its metadata say: export it again.")
        return answer if self._transport.takes_jpegs else _with_top(answer, metadata)

    def _model(self):
        known = self._known
        if known is None:  # several threads may ask at once: no harm, and none waits for the timeouts of the others
            try:
                version = max(self._with_retries(self._transport.versions, first=True), default=None)
                if version is None:
                    raise ServingError(
                        "UNAVAILABLE", f"{self.server} has no version of {self.model} ready: wait for it."
                    )
                metadata = json.loads(self._with_retries(lambda left: self._transport.metadata(version, left)))
            except (ServingError, KeyError, TypeError, ValueError) as error:
                if isinstance(error, ServingError) and error.code not in ("INVALID_ARGUMENT", "FAILED_PRECONDITION"):
                    raise
                raise UserError(
                    f"Model {self.model} on {self.server} has no metadata of ours ({error}): name a model that "
                    "export/saved_model.py or export/triton/repository.py wrote."
                ) from None
            self._known = known = version, metadata, client_config(metadata)
        return known

    def _with_retries(self, call, first=False):
        """`call_with_retries`; `first`: the call tells whether the server speaks our protocol at all."""
        try:
            return call_with_retries(call, self.timeout, self.attempts)
        except StatusError as failure:
            code, reason = failure.code, " ".join(failure.message.split()) or "no reason given"
        no_way_in = code in ("UNAVAILABLE", "UNAUTHENTICATED")
        if (first and code in ("INVALID_ARGUMENT", "INTERNAL")) or (no_way_in and _OTHER_PROTOCOL.search(reason)):
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
                f"cannot be reached ({reason}): start it, name another --server, or write http:// for REST, "
                "grpcs:// or https:// for TLS."
            )
        if code == "RESOURCE_EXHAUSTED":
            return f"has too much to do ({reason}): try again later, or with fewer callers."
        return f"refuses the request ({code}: {reason})."


class AsyncClient:
    """`Client` for asyncio: the same calls, awaited, in threads of its own.

    Args:
        server, options: as of `Client`.
        calls: at the same time, at most; further ones wait for a thread, and `timeout` begins when they have one.
    """

    def __init__(self, server: str, calls: int = 32, **options):
        self._client, self._threads = Client(server, **options), concurrent.futures.ThreadPoolExecutor(calls)

    async def metadata(self) -> dict:
        """See `Client.metadata`."""
        return await self._call(self._client.metadata)

    async def classify_video(self, path: str, segments: int = 0) -> dict[str, np.ndarray]:
        """See `Client.classify_video`."""
        return await self._call(self._client.classify_video, path, segments)

    async def predict(self, signature: str, inputs: dict[str, np.ndarray], version: int | None = None) -> dict:
        """See `Client.predict`."""
        return await self._call(self._client.predict, signature, inputs, version)

    async def close(self) -> None:
        """Frees the connections, once the calls under way have ended."""
        await asyncio.to_thread(self._threads.shutdown)
        self._client.close()

    def _call(self, method, *arguments):
        return asyncio.get_running_loop().run_in_executor(self._threads, method, *arguments)


def _with_top(outputs, metadata):
    """The network's outputs as a signature of ours answers."""
    answer = {name: value for name, value in with_scores(outputs).items() if name.endswith("scores")}
    best = np.argsort(-answer["scores"], kind="stable")[: metadata["top_k"]]
    return {
        **answer,
        "top_indices": best.astype(np.int32),
        "top_labels": np.array(metadata["classes"], object)[best],
        "top_scores": answer["scores"][best],
    }
