"""Where a server is, and how it is spoken to. No TensorFlow."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import ssl

from ccsn_tf.errors import UserError

_ADDRESS = re.compile(r"(?:(grpcs?|https?)://)?([^/]+:([0-9]{1,5}))(/v2)?")


@dataclasses.dataclass(frozen=True)
class Server:
    """A server's `address`, host:port, and whether it is asked by gRPC or else HTTP, by TLS, by KServe's protocol.

    `authorities`: the PEM certificates that TLS trusts, None for the system's; `headers`: sent with each call.
    """

    address: str
    grpc: bool
    tls: bool
    v2: bool
    authorities: bytes | None
    headers: dict[str, str]

    @classmethod
    def parse(cls, server: str, ca_file: str = "", token_file: str = "") -> Server:
        """Args: as of `client.Client`.

        Raises:
            UserError: an address of another kind, a file that cannot be used, or a token that anyone could read.
        """
        match = _ADDRESS.fullmatch(server)
        if not match or not 0 < int(match[3]) < 65536:
            raise UserError(
                f"--server={server} is no address: give host:port for gRPC (8500), or http://host:port for REST "
                "(8501), with /v2 behind it for Triton (8001, 8000); grpcs:// and https:// are TLS."
            )
        scheme, tls = match[1] or "grpc", match[1] in ("grpcs", "https")
        for flag in ("--ca_file" if ca_file else "", "--token_file" if token_file else ""):
            if flag and not tls:
                raise UserError(f"{flag} is for TLS, and --server={server} is not: give grpcs:// or https://.")
        authorities = _content(ca_file, "--ca_file") if ca_file else None
        if authorities:
            try:
                ssl.create_default_context(cadata=authorities.decode())
            except (ssl.SSLError, ValueError):
                raise UserError(f"--ca_file={ca_file} holds no certificates: name a PEM file.") from None
        headers = {}
        if token_file:
            token = _content(token_file, "--token_file").strip().decode("ascii", "replace")
            if not re.fullmatch(r"[!-~]+", token):
                raise UserError(f"--token_file={token_file} holds no token: write it there, one line of ASCII.")
            headers = {"authorization": f"Bearer {token}"}  # gRPC wants names in small letters
        return cls(match[2], scheme.startswith("grpc"), tls, bool(match[4]), authorities, headers)


def _content(path, flag):
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{flag}={path} cannot be read ({error.strerror}): name a file.") from None
