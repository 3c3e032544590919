"""A small certificate authority for a trusted lab, and the certificates of a chief and its workers.

Owns what is in them and the modes of their files. Needs `cryptography`, of the extra `certs`.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cluster.errors import DirectoryError, UsageError

AUTHORITY = "ca"
ROLES = ("chief", "worker")
SKEW = datetime.timedelta(hours=1)  # clocks of hosts differ


def make(directory: Path, hosts: Sequence[str], days: int, now: datetime.datetime) -> list[Path]:
    """Writes an authority and the certificates that it signs, each with its key.

    Args:
        directory: Where; made where it is missing. Nothing that is there is overwritten.
        hosts: The names and addresses by which workers call the chief.
        days: How long the certificates are good.
        now: The time, with its zone.

    Returns:
        The files that were written.

    Raises:
        UsageError: a host is no name and no address, or there are certificates already.
        DirectoryError: the files cannot be written.
    """
    names = [_name(host) for host in hosts]
    files = {role: (directory / f"{role}.pem", directory / f"{role}.key") for role in (AUTHORITY, *ROLES)}
    there = [file for pair in files.values() for file in pair if file.exists()]
    if there:
        raise UsageError(f"{there[0]} is there already, and is not overwritten; name another directory, or remove it")
    until = now + datetime.timedelta(days=days)
    authority_key, authority = _authority(now - SKEW, until)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(files[AUTHORITY], authority, authority_key)
        for role in ROLES:
            key = ec.generate_private_key(ec.SECP256R1())
            own = names if role == "chief" else [x509.DNSName(role)]
            certificate = _signed(role, key, own, authority, authority_key, now - SKEW, until)
            _write(files[role], certificate, key)
    except OSError as error:
        raise DirectoryError(f"certificates cannot be written to {directory}: {error.strerror}") from error
    return [file for pair in files.values() for file in pair]


def _authority(
    begin: datetime.datetime, until: datetime.datetime
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _begun("keras-tuning-cluster", key, begin, until)
        .issuer_name(_subject("keras-tuning-cluster"))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def _signed(
    role: str,
    key: ec.EllipticCurvePrivateKey,
    names: Sequence[x509.GeneralName],
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    begin: datetime.datetime,
    until: datetime.datetime,
) -> x509.Certificate:
    # A chief's is for calling too: its page may look at another chief.
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
    purposes += [ExtendedKeyUsageOID.SERVER_AUTH] if role == "chief" else []
    return (
        _begun(role, key, begin, until)
        .issuer_name(authority.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _begun(
    name: str, key: ec.EllipticCurvePrivateKey, begin: datetime.datetime, until: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_subject(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        pass
    labels = host.rstrip(".").split(".")
    if len(host) > 253 or not all(
        0 < len(x) < 64 and x.isascii() and x.replace("-", "").replace("_", "").isalnum() for x in labels
    ):
        raise UsageError(f"--host {host!r} is no name of a host and no address")
    return x509.DNSName(host.rstrip("."))


def _write(files: tuple[Path, Path], certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for file, content, mode in zip(files, (certificate.public_bytes(pem), secret), (0o644, 0o600), strict=True):
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
            stream.write(content)
