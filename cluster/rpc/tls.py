"""TLS between workers and chief: the files that the user names, as what gRPC takes, and why a handshake fails.

Owns reading the files and saying what is wrong with them, before anything listens or connects.
"""

from __future__ import annotations

import os
import socket
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.errors import UsageError

if TYPE_CHECKING:
    import grpc

LOOK_SECONDS = 2.0


@dataclass(frozen=True)
class Identity:
    """A certificate, with those that lead to its authority, and its private key, as PEM files.

    Attributes:
        certificate: The certificate's file.
        key: The key's.
    """

    certificate: Path
    key: Path

    @classmethod
    def of(cls, certificate: Path | None, key: Path | None) -> Identity | None:
        """What the options say; None where they say nothing.

        Raises:
            UsageError: one of the two is missing, or they cannot be used.
        """
        if certificate is None and key is None:
            return None
        if certificate is None or key is None:
            there, missing = ("--tls-key", "--tls-cert") if certificate is None else ("--tls-cert", "--tls-key")
            raise UsageError(f"{there} is given and {missing} is not: a certificate and its key go together")
        for file, option in ((certificate, "--tls-cert"), (key, "--tls-key")):
            _check_readable(file, option)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=_no_password)
        except (ssl.SSLError, ValueError) as error:
            raise UsageError(
                f"--tls-cert {certificate} and --tls-key {key} are no certificate and its key: {_reason(error)}"
            ) from error
        return cls(certificate, key)


@dataclass(frozen=True)
class ServerTls:
    """The chief's side.

    Attributes:
        identity: Its certificate.
        client_ca: The authorities whose certificates callers must have; None: callers need none.
    """

    identity: Identity
    client_ca: Path | None = None

    @classmethod
    def of(cls, certificate: Path | None, key: Path | None, client_ca: Path | None) -> ServerTls | None:
        """What the options say; None where they say nothing.

        Raises:
            UsageError: they make no sense, or a file cannot be used.
        """
        identity = Identity.of(certificate, key)
        if client_ca is not None:
            if identity is None:
                raise UsageError("--tls-client-ca asks for TLS, which needs --tls-cert and --tls-key")
            _check_authorities(client_ca, "--tls-client-ca")
        return None if identity is None else cls(identity, client_ca)

    def credentials(self) -> grpc.ServerCredentials:
        """For gRPC."""
        import grpc

        pair = (self.identity.key.read_bytes(), self.identity.certificate.read_bytes())
        ca = None if self.client_ca is None else self.client_ca.read_bytes()
        return grpc.ssl_server_credentials([pair], root_certificates=ca, require_client_auth=ca is not None)


@dataclass(frozen=True)
class ClientTls:
    """The side of those who call a chief.

    Attributes:
        ca: The authorities whose certificate the chief must have.
        identity: The caller's own certificate, for a chief that asks for one.
    """

    ca: Path
    identity: Identity | None = None

    @classmethod
    def of(cls, ca: Path | None, certificate: Path | None, key: Path | None) -> ClientTls | None:
        """What the options say; None where they say nothing of a chief with TLS.

        Raises:
            UsageError: they make no sense, or a file cannot be used.
        """
        identity = Identity.of(certificate, key)
        if ca is None:
            if identity is not None:
                raise UsageError("--tls-cert is given and --tls-ca is not: it says whom to take for the chief")
            return None
        _check_authorities(ca, "--tls-ca")
        return cls(ca, identity)

    def credentials(self) -> grpc.ChannelCredentials:
        """For gRPC."""
        import grpc

        own = (None, None) if self.identity is None else (self.identity.key, self.identity.certificate)
        key, certificate = (None if file is None else file.read_bytes() for file in own)
        return grpc.ssl_channel_credentials(self.ca.read_bytes(), key, certificate)


def why_no_handshake(address: str, tls: ClientTls | None, seconds: float = LOOK_SECONDS) -> str:
    """Why a chief that listens cannot be talked to, as far as TLS is the reason; empty where it is not, or unknown.

    Args:
        address: HOST:PORT.
        tls: What the caller has.
        seconds: How long to wait for each answer.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    context = ssl.create_default_context(cafile=None if tls is None else str(tls.ca))
    context.set_alpn_protocols(["h2"])
    if tls is None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    elif tls.identity is not None:
        context.load_cert_chain(tls.identity.certificate, tls.identity.key)
    try:
        with (
            socket.create_connection((host, int(port)), timeout=seconds) as connection,
            context.wrap_socket(connection, server_hostname=host) as talk,
        ):
            if tls is None:
                return "it talks TLS: name its authority with --tls-ca"
            return "" if _goes_on(talk, seconds) else _unwanted(tls)
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not what --tls-ca {tls and tls.ca} vouches for: {error.verify_message}"
    except ssl.SSLError as error:
        if tls is None:
            return ""
        if "WRONG_VERSION" in str(error) or "RECORD_LAYER" in str(error):
            return "it does not talk TLS, which --tls-ca asks for"
        return f"the TLS handshake fails: {_reason(error)}"
    except OSError:
        return ""
    return ""


def _goes_on(talk: ssl.SSLSocket, seconds: float) -> bool:
    """Whether the other side says something after the handshake, as HTTP/2 does: a caller's certificate comes last."""
    talk.settimeout(seconds)
    try:
        return bool(talk.recv(1))
    except TimeoutError:
        return True
    except OSError:  # TLS's own errors among them
        return False


def _unwanted(tls: ClientTls) -> str:
    if tls.identity is None:
        return "it wants a certificate: --tls-cert, --tls-key"
    return f"it does not take the certificate {tls.identity.certificate}"


def _check_authorities(file: Path, option: str) -> None:
    _check_readable(file, option)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except (ssl.SSLError, ValueError) as error:
        raise UsageError(f"{option} {file} holds no certificate of an authority: {_reason(error)}") from error


def _check_readable(file: Path, option: str) -> None:
    try:
        # Not to wait for who writes into a named pipe; and it is read more than once.
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
            regular = stat.S_ISREG(os.fstat(opened.fileno()).st_mode)
    except OSError as error:
        raise UsageError(f"{option} {file} cannot be read: {error.strerror}") from error
    if not regular:
        raise UsageError(f"{option} {file} cannot be read: it is no regular file")


def _no_password() -> str:
    raise ValueError("the key has a password, which nobody would be there to type")


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or str(error)
    return str(reason).replace("_", " ").lower()
