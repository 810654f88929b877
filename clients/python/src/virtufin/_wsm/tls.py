"""TLS, for gRPC's own channels and for the sockets of a send stream."""

from __future__ import annotations

import os
import pathlib
import ssl
import tempfile
from dataclasses import dataclass

import grpc

Pem = str | bytes | os.PathLike[str]


@dataclass(frozen=True)
class Tls:
    """How the service is trusted, and who we are.

    ``ca``, ``cert`` and ``key`` are PEM texts or paths of PEM files. Without ``ca`` the platform's
    authorities are trusted. ``server_name`` is the name to verify when it is not the host's.
    """

    ca: Pem | None = None
    cert: Pem | None = None
    key: Pem | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise ValueError("tls: cert and key are given both or neither")

    def credentials(self) -> grpc.ChannelCredentials:
        """For gRPC."""
        return grpc.ssl_channel_credentials(
            root_certificates=_read(self.ca, "ca"),
            private_key=_read(self.key, "key"),
            certificate_chain=_read(self.cert, "cert"),
        )

    def context(self) -> ssl.SSLContext:
        """For sockets."""
        ca = _read(self.ca, "ca")
        context = ssl.create_default_context(cadata=ca.decode("ascii") if ca else None)
        context.set_alpn_protocols(["h2"])
        cert, key = _read(self.cert, "cert"), _read(self.key, "key")
        if cert and key:
            # Python takes a certificate of ours only from a file; it is gone again before anybody connects.
            with tempfile.TemporaryDirectory(prefix="wsm-") as folder:
                file = pathlib.Path(folder, "client.pem")
                file.touch(mode=0o600)
                file.write_bytes(cert + b"\n" + key)
                context.load_cert_chain(file)
        return context


def _read(pem: Pem | None, name: str) -> bytes | None:
    if pem is None:
        return None
    if isinstance(pem, bytes):
        return pem
    if isinstance(pem, str) and "-----BEGIN" in pem:
        return pem.encode()
    try:
        return pathlib.Path(pem).read_bytes()
    except OSError as error:
        raise ValueError(f"tls.{name}: {error}; give PEM or the path of a PEM file") from None
